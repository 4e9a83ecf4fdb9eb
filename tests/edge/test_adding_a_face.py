"""docs/adding-a-face.md, followed to the letter: its face, its line, its requests and its tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from drf_spectacular.validation import validate_schema

from tests.stack.deployment import KEY, Deployment
from tests.stack.process import GatewayProcess
from tests.stack.template import state_copy
from tests.stack.tree import face_add, tree_copy

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-face.md"
FILE = re.compile(r"^`(faces/\S+)`:\n\n```python\n(.*?)```", re.DOTALL | re.MULTILINE)
SECONDS = 120


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def section(number: int) -> str:
    """The text of one numbered section of the guide."""
    return GUIDE.read_text(encoding="utf-8").split("\n## ")[number]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 1 and 2 of the guide, in a copy of the gateway."""
    tree = tmp_path_factory.mktemp("tree")
    tree_copy(tree, "tests", "deploy", "gateway_client")
    files = FILE.findall(section(1))
    assert len(files) == len(blocks("python", section(1)))
    for name, content in files:
        path = tree / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    face_add(tree, blocks("text", section(2))[0])
    (tree / "tests" / "faces" / "test_ask.py").write_text(blocks("python", section(4))[0], encoding="utf-8")
    return tree


@pytest.fixture
def process(tree: Path, tmp_path: Path) -> Iterator[GatewayProcess]:
    data = tmp_path / "data"
    data.mkdir()
    state_copy(data)
    process = GatewayProcess(Deployment(data), command=(sys.executable, str(tree / "manage.py"), "serve"))
    yield process
    process.end()


@pytest_asyncio.fixture
async def http(process: GatewayProcess) -> AsyncIterator[aiohttp.ClientSession]:
    await process.start()
    async with aiohttp.ClientSession(process.url, timeout=aiohttp.ClientTimeout(SECONDS)) as session:
        yield session


async def test_the_guides_requests_are_answered_as_it_says(http: aiohttp.ClientSession) -> None:
    text = section(3)
    assert '/ask -H "X-API-Key: $KEY"' in text
    assert '{"question":"What is a gateway?"}' in text
    assert "/ask/$ASK -H" in text
    assert "/ask/$ASK/socket?api_key=$KEY" in text
    headers = {"X-API-Key": KEY}
    async with http.post("/ask", json={"question": "What is a gateway?"}, headers=headers) as response:
        ask = (await response.json())["ask"]
        assert response.headers["Location"] == f"/ask/{ask}"
    async with http.ws_connect(f"/ask/{ask}/socket?api_key={KEY}") as socket:
        assert await answer_of(socket) == "What is a gateway?"
        await socket.send_str("And a face?")
        assert set(await socket.receive_json(timeout=SECONDS)) == {"accepted"}
        assert await answer_of(socket) == "And a face?"
        await socket.send_str(" ")
        assert await socket.receive_json(timeout=SECONDS) == {
            "problem": "bad_request",
            "detail": "A frame is a question.",
        }
    async with http.get(f"/ask/{ask}", headers=headers) as response:
        assert (await response.json())["answer"] == "And a face?"
    async with http.get("/ask/nothing", headers=headers) as response:
        assert set(await response.json()) == {"problem", "detail"}


async def test_the_face_is_in_the_document_and_the_others_are_as_before(http: aiohttp.ClientSession) -> None:
    async with http.get("/openapi.json") as response:
        document = await response.json()
    validate_schema(document)
    paths = set(document["paths"])
    assert {"/ask", "/ask/{ask_id}", "/ask/{ask_id}/socket", "/v1/sessions", "/v1/models"} <= paths
    async with http.get("/v1/models", headers={"X-API-Key": KEY}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/faces/test_ask.py"),
        ("-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"),
        ("-m", "ruff", "check", "--no-cache", "faces/ask"),
        ("-m", "ruff", "format", "--no-cache", "--check", "faces/ask"),
    ],
    ids=["its test", "imports", "lint", "format"],
)
def test_the_guides_face_passes(tree: Path, command: tuple[str, ...]) -> None:
    # The test database of the other deployment is this process's own.
    environment = {**os.environ, "GATEWAY_TEST_DEPLOYMENT": "embedded"}
    result = subprocess.run(
        [sys.executable, *command],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


async def answer_of(socket: aiohttp.ClientWebSocketResponse) -> str:
    """Reads an answer to its end."""
    text = ""
    while "done" not in (frame := await socket.receive_json(timeout=SECONDS)):
        assert set(frame) == {"text"}
        text += frame["text"]
    return text
