"""docs/ten-requests.md: its three programs run as they are printed, against a real process, and without a network."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.client.node import PACKAGE, flags, node
from tests.stack.conftest import Start
from tests.stack.deployment import Deployment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/ten-requests.md").read_text(encoding="utf-8")
KEY = "my-key-of-20-characters"
ADDRESS = "127.0.0.1:4000"
SECONDS = 120
LANGUAGES = ("sh", "python", "js")
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]

SAID = (
    "wrote “Hello, gateway”",
    "lorem ipsum",
    "get_weather answered: 21 °C and clear",
    "demo_approval answered: Approved and done",
    "ask_user answered: Yes",
)
"""In the order of the requests, whatever the language."""

SAID_BY = {
    "sh": (*SAID, '"lastEventIndex"', '"token"', '"content":"Hello, team"', "whsec_", '"object":"chat.completion"'),
    "python": (*SAID, "lorem", "over a socket", "2 runs of the group", "whsec_", "wrote “Hello”"),
    "js": (*SAID, "lorem", "over a socket", "2 runs of the group", "whsec_", "wrote “Hello”"),
}


def blocks(language: str) -> Sequence[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_ten_requests_in_each_language() -> None:
    assert [section.split(".")[0] for section in SECTIONS] == [str(number) for number in range(1, 11)]
    for section in SECTIONS:
        assert re.findall(r"^```(\w+)$", section, re.MULTILINE) == list(LANGUAGES)


async def output_of(*command: str, cwd: Path, variables: Mapping[str, str]) -> str:
    """Runs a program to its end; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=variables, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode() + errors.decode()
    return output.decode()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_requests_run_as_printed(
    language: str, process: Start, deployment: Deployment, tmp_path: Path
) -> None:
    command: Sequence[str] = {"sh": ("bash", "-e"), "python": (sys.executable,)}.get(language) or (node(), *flags())
    own = replace(deployment, settings={"API_KEYS": KEY, "CALLBACK_ALLOW_PRIVATE": "false"})
    server = process(of=own)
    await server.start()
    printed = "\n".join(blocks(language))
    assert printed.count(ADDRESS) >= 1
    program = tmp_path / f"ten.{'mjs' if language == 'js' else language}"
    program.write_text(printed.replace(ADDRESS, f"127.0.0.1:{server.port}"), encoding="utf-8")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "agent-gateway-client").symlink_to(PACKAGE)
    variables = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    output = await output_of(*command, str(program), cwd=tmp_path, variables=variables | {"PYTHONPATH": str(ROOT)})
    position = 0
    for said in SAID_BY[language]:
        position = output.find(said, position)
        assert position >= 0, (said, output)


def test_the_page_is_linked_from_where_newcomers_are() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        assert "docs/ten-requests.md" in (ROOT / name).read_text(encoding="utf-8")
