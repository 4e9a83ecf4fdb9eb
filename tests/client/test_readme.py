"""The package's README: its example runs, and continues its conversation when it is run again."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from gateway_client import AsyncGateway, tool
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

ROOT = Path(__file__).parents[2]
README = ROOT / "gateway_client/README.md"


EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
EXAMPLE = EXAMPLES[0]


async def example_output(served: GatewayProcess, *names: str, example: str = EXAMPLE) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example, served.url, KEY, *names, cwd=ROOT, stdout=-1, stderr=-1
    )
    async with asyncio.timeout(120):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def test_the_example_is_short() -> None:
    assert len([line for line in EXAMPLE.splitlines() if line]) <= 24


async def test_the_example_runs_twice_under_one_name(served: GatewayProcess) -> None:
    for _ in range(2):
        assert "add answered: 42" in await example_output(served, "readme")


async def test_the_example_ends_a_run_that_an_earlier_start_left(served: GatewayProcess, gateway: AsyncGateway) -> None:
    def add(a: int, b: int) -> int:
        raise AssertionError("called by the program that is gone")

    session = await gateway.sessions.create("demo:tour", session_id="left", tools=[tool(add, requires_approval=True)])
    async for event in session.prompt('use add {"a": 1, "b": 2}'):
        if event.type == "approval_required":
            break
    assert "add answered: 3" in await example_output(served, "left")
    assert [run.status async for run in session.runs()] == ["completed"]


async def test_the_example_of_tasks_runs(served: GatewayProcess) -> None:
    (example,) = (each for each in EXAMPLES if "tasks.run" in each)
    output = await example_output(served, example=example)
    assert "completed by ['demo']" in output
    assert "'Whales sing.'" in output
    assert "demo" in output
