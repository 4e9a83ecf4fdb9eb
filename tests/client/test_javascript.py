"""The JavaScript package: its own tests, types, tarball in an empty directory, and the examples of its README."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from gateway_client import AsyncGateway, tool
from tests.client.node import PACKAGE, PROGRAMS, ROOT, node, npm, run
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

README = (PACKAGE / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```js\n(.*?)```", README, re.DOTALL)
COMPILER = ROOT / "tests/javascript/node_modules/.bin/tsc"
LONGEST_LINE = 120
SOURCES = sorted(path for kind in ("*.js", "*.ts") for path in PACKAGE.rglob(kind) if "node_modules" not in path.parts)


def test_its_own_tests_pass() -> None:
    output = run(node(), "--test", "test/", cwd=PACKAGE)
    assert int(re.findall(r"^# pass (\d+)", output, re.MULTILINE)[0]) > 50
    assert re.findall(r"^# (?:fail|cancelled|skipped|todo) (\d+)", output, re.MULTILINE) == ["0"] * 4


def test_its_types_are_those_of_the_implementation() -> None:
    node()
    if not COMPILER.exists():
        pytest.skip("There is no TypeScript compiler in tests/javascript/node_modules, which checks the types.")
    run(COMPILER, "--project", PACKAGE / "test/types/tsconfig.json")


def test_it_has_the_gateways_version_and_no_dependencies() -> None:
    package = json.loads((PACKAGE / "package.json").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package["version"] == project["version"]
    assert [name for name in package if name.lower().endswith("dependencies")] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_can_be_read(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= LONGEST_LINE
    assert len(lines) <= 400
    assert lines[0].startswith("/**") or path.name == "index.d.ts"


def test_what_browsers_load_is_in_the_package_and_imports_nothing_else() -> None:
    loaded, waiting = set(), [PACKAGE / "index.js"]
    while waiting:
        path = waiting.pop()
        if path not in loaded:
            loaded.add(path)
            text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            assert re.search(r"\b(?:eval|Function|import)\s*\(", text) is None
            waiting += [(path.parent / name).resolve() for name in re.findall(r'from "([^"]+)"', text)]
    assert {path.name for path in (PACKAGE / "src").iterdir()} - {path.name for path in loaded} == {"node_websocket.js"}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty directory into which the packed package was installed, without a network."""
    directory = tmp_path_factory.mktemp("installed")
    offline = ("--offline", "--no-audit", "--no-fund", "--silent", f"--cache={directory / 'cache'}")
    packed = json.loads(run(npm(), "pack", "--json", f"--pack-destination={directory}", *offline, cwd=PACKAGE))
    (entry,) = packed if isinstance(packed, list) else packed.values()
    names = {file["path"] for file in entry["files"]}
    assert {"index.js", "node.js", "index.d.ts", "README.md", "types/events.d.ts", "src/client.js"} <= names
    assert not any(name.startswith("test/") for name in names)
    (directory / "package.json").write_text('{"private": true, "type": "module"}', encoding="utf-8")
    run(npm(), "install", *offline, directory / entry["filename"], cwd=directory)
    shutil.rmtree(directory / "cache", ignore_errors=True)
    return directory


async def output_of(example: str, installed: Path, *arguments: str) -> str:
    """Runs an example beside the installed package."""
    program = installed / f"example{EXAMPLES.index(example)}.js"
    program.write_text(example, encoding="utf-8")
    return await asyncio.to_thread(run, node(), program, *arguments, cwd=installed)


def test_the_example_is_short() -> None:
    assert len([line for line in EXAMPLES[0].splitlines() if line]) <= 24


async def test_the_example_runs_twice_under_one_name(served: GatewayProcess, installed: Path) -> None:
    for _ in range(2):
        assert "add answered: 42" in await output_of(EXAMPLES[0], installed, served.url, KEY, "javascript")


async def test_the_example_ends_a_run_that_an_earlier_start_left(
    served: GatewayProcess, gateway: AsyncGateway, installed: Path
) -> None:
    def add(a: int, b: int) -> int:
        raise AssertionError("called by the program that is gone")

    tools = [tool(add, requires_approval=True)]
    session = await gateway.sessions.create("demo:tour", session_id="left-to-javascript", tools=tools)
    async for event in session.prompt('use add {"a": 1, "b": 2}'):
        if event.type == "approval_required":
            break
    assert "add answered: 3" in await output_of(EXAMPLES[0], installed, served.url, KEY, session.id)
    assert [run.status async for run in session.runs()] == ["completed"]


@pytest.mark.parametrize(
    ("number", "expected"), [(1, "you wrote “hello”"), (2, "completed"), (3, "")], ids=["resume", "tasks", "webhooks"]
)
async def test_another_example_runs(served: GatewayProcess, installed: Path, number: int, expected: str) -> None:
    assert expected in await output_of(EXAMPLES[number], installed, served.url, KEY)


async def test_every_method_does_what_it_says(served: GatewayProcess) -> None:
    assert await asyncio.to_thread(run, node(), PROGRAMS / "everything.js", served.url, KEY) == "done\n"


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == 4
