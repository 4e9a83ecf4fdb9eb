"""A face is removed with its folder and its line in the settings: what is left starts, and serves the other faces."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from django.conf import settings
from drf_spectacular.validation import validate_schema

from tests.stack.client import TERMINAL, Client, Event
from tests.stack.deployment import KEY, Deployment
from tests.stack.process import GatewayProcess
from tests.stack.template import state_copy

SERVED = ("*_app", "faces", "gateway_project", "config", "manage.py")
NAMES = [package.rpartition(".")[2] for package in settings.FACES]
PATHS = {"native": "/v1/sessions/{session_id}", "inference": "/v1/models", "responses": "/v1/responses"}
"""A path of each face in the document."""


def copy_without(face: str, target: Path) -> None:
    """Copies what a gateway needs, except one face's folder and line."""
    for pattern in SERVED:
        for source in settings.BASE_DIR.glob(pattern):
            if source.is_dir():
                shutil.copytree(source, target / source.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
    shutil.rmtree(target / "faces" / face)
    file = target / "gateway_project" / "settings.py"
    text, removed = re.subn(rf'^ +"faces\.{face}",\n', "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert removed == 1
    file.write_text(text, encoding="utf-8")


@pytest.fixture(params=NAMES)
def removed(request: pytest.FixtureRequest) -> str:
    """Each face in turn; one that another face still imports cannot be removed."""
    name: str = request.param
    others = [file for file in (settings.BASE_DIR / "faces").glob("*/**/*.py") if name not in file.parts]
    if any(f"from faces.{name}" in file.read_text(encoding="utf-8") for file in others):
        pytest.skip(f"Another face imports faces.{name}.")
    return name


@pytest.fixture
def process(removed: str, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway without the face."""
    tree, data = tmp_path / "tree", tmp_path / "data"
    tree.mkdir()
    data.mkdir()
    copy_without(removed, tree)
    state_copy(data)
    process = GatewayProcess(Deployment(data), command=(sys.executable, str(tree / "manage.py"), "serve"))
    yield process
    process.end()


async def test_a_gateway_without_a_face_serves_the_others(process: GatewayProcess, removed: str) -> None:
    await process.start()
    async with aiohttp.ClientSession(process.url, timeout=aiohttp.ClientTimeout(60)) as http:
        assert (await fetch(http, "GET", "/healthz"))[0] == 200
        assert (await fetch(http, "GET", "/admin/login/"))[0] == 200
        await check_document(http, removed)
        await check_native(http, process.url, here=removed != "native")
        await check_inference(http, here=removed != "inference")
        await check_responses(http, here=removed != "responses")


async def check_document(http: aiohttp.ClientSession, removed: str) -> None:
    """The document is valid, and has the paths of the faces that are left."""
    status, document = await fetch(http, "GET", "/openapi.json")
    assert status == 200
    validate_schema(document)
    assert {name: path in document["paths"] for name, path in PATHS.items()} == {
        name: name != removed for name in NAMES
    }


async def check_native(http: aiohttp.ClientSession, url: str, *, here: bool) -> None:
    """A prompt is followed to its end."""
    status, session = await fetch(http, "POST", "/v1/sessions", {"sessionId": "a", "model": "demo:tour"})
    if not here:
        assert (status, session["error"]) == (404, "not_found")
        return
    assert status == 201
    client = Client(http, url)
    await client.prompt("a", "hello")
    async for event in client.follow("a"):
        if isinstance(event, Event) and event.type in (*TERMINAL, "approval_required"):
            return
    raise AssertionError("The stream ended before the run did.")


async def check_inference(http: aiohttp.ClientSession, *, here: bool) -> None:
    """The models are listed; a vendor's path that nobody has is answered in the vendor's shape."""
    status, models = await fetch(http, "GET", "/v1/models")
    assert (status, models.get("object")) == ((200, "list") if here else (404, None))
    status, error = await fetch(http, "GET", "/v1/files")
    assert status == 404
    assert isinstance(error["error"], dict) is here


async def check_responses(http: aiohttp.ClientSession, *, here: bool) -> None:
    """A model that no provider has is refused in OpenAI's shape."""
    status, error = await fetch(http, "POST", "/v1/responses", {"model": "nobody:nothing", "input": "hi"})
    assert status == 404
    if here:
        assert error["error"]["code"] == "model_not_found"


async def fetch(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of a response; None for a page."""
    async with http.request(method, path, json=body, headers={"X-API-Key": KEY}) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else None
