"""The commands of the README, run by a shell against a real process."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.stack.conftest import Start
from tests.stack.deployment import KEY

ROOT = Path(__file__).parents[2]
SECONDS = 20


def lines_of(name: str) -> str:
    """Returns the commands that create, prompt and follow a session."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if "/prompt" in block and "/events" in block)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
async def test_the_readmes_lines_work_as_printed(name: str, process: Start) -> None:
    server = process()
    await server.start()
    script = (
        lines_of(name)
        .replace("export KEY=my-key-of-20-characters", f"export KEY={KEY}")
        .replace(":4000", f":{server.port}")
    )
    assert KEY in script
    shell = await asyncio.create_subprocess_exec(
        "bash", "-e", "-c", script, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    output, _ = await asyncio.wait_for(shell.communicate(), SECONDS)
    said = output.decode()
    assert shell.returncode == 0
    assert '"sessionId":"first"' in said
    assert "event: prompt_received" in said
    assert said.rstrip().splitlines()[-1].startswith("data: ")
    assert "event: agent_end" in said
