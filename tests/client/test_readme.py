"""The package's README: its example runs, and continues its conversation when it is run again."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

ROOT = Path(__file__).parents[2]
README = ROOT / "gateway_client/README.md"


async def test_the_example_runs_twice_under_one_name(served: GatewayProcess) -> None:
    example = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert len([line for line in example.splitlines() if line]) <= 22
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", example, served.url, KEY, "readme", cwd=ROOT, stdout=-1, stderr=-1
        )
        async with asyncio.timeout(120):
            output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert "no model was asked" in output.decode()
