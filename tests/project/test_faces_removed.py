"""A face is removed with its folder and its line in the settings: what is left starts, and serves the other faces."""

from __future__ import annotations

import json
import re
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
from tests.stack.tree import face_remove, tree_copy

NAMES = [package.rpartition(".")[2] for package in settings.FACES]
PATHS = {
    "native": "/v1/sessions/{session_id}",
    "platform": "/v1/platform/tenants",
    "inference": "/v1/models",
    "responses": "/v1/responses",
    "agentbus": "/api/v1/sessions/{session_id}",
    "codelab": "/tool/execute/{session_id}",
    "mesh": "/tasks/{task_id}",
}
"""A path of each face in the document."""


@pytest.fixture(params=NAMES)
def removed_face(request: pytest.FixtureRequest) -> str:
    """Each face in turn."""
    name: str = request.param
    return name


@pytest.fixture
def process(removed_face: str, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway without the face."""
    tree, data = tmp_path / "tree", tmp_path / "data"
    tree.mkdir()
    data.mkdir()
    tree_copy(tree)
    face_remove(tree, removed_face)
    state_copy(data)
    process = GatewayProcess(Deployment(data), command=(sys.executable, str(tree / "manage.py"), "serve"))
    yield process
    process.end()


async def test_a_gateway_without_a_face_serves_the_others(process: GatewayProcess, removed_face: str) -> None:
    await process.start()
    async with aiohttp.ClientSession(process.url, timeout=aiohttp.ClientTimeout(60)) as http:
        assert (await fetch(http, "GET", "/healthz"))[0] == 200
        assert (await fetch(http, "GET", "/admin/login/"))[0] == 200
        await check_document(http, removed_face)
        await check_native(http, process.url, here=removed_face != "native")
        await check_inference(http, here=removed_face != "inference")
        await check_responses(http, here=removed_face != "responses")
        assert (await fetch(http, "GET", "/status"))[0] == (200 if removed_face != "agentbus" else 404)


async def check_document(http: aiohttp.ClientSession, removed_face: str) -> None:
    """The document is valid, and has the paths of the faces that are left."""
    status, document = await fetch(http, "GET", "/openapi.json")
    assert status == 200
    validate_schema(document)
    assert missing_components(document) == set()
    present = {name for name, path in PATHS.items() if path in document["paths"]}
    assert present == set(PATHS) - {removed_face}


def missing_components(document: Any) -> set[str]:
    """The references of a document that lead nowhere."""
    references = set(re.findall(r'"#/components/(\w+/\w+)"', json.dumps(document)))
    known = {f"{kind}/{name}" for kind, components in document["components"].items() for name in components}
    return references - known


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
