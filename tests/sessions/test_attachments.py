"""Attachments of a prompt are stored, passed to the engine, and downloaded once if they came by URL."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from agents_app.engine import Attachment, Finished, Leg, LegOutcome
from tests.gateway_harness import Client
from tests.scripted_engine import Crash, ScriptedEngine, say

pytestmark = pytest.mark.django_db(transaction=True)

PIXEL = b"\x89PNG not really"


class Seen:
    """An engine that records the attachments of the newest user message, leg by leg."""

    def __init__(self, crashes: int = 0) -> None:
        self.legs: list[tuple[Attachment, ...]] = []
        self._crashes = crashes

    async def __call__(self, leg: Leg) -> LegOutcome:
        given = leg.history[-1].attachments
        self.legs.append(tuple([replace(part, data=await leg.read_attachment(part), stored=None) for part in given]))
        if len(self.legs) <= self._crashes:
            raise Crash
        text, _ = await say(leg, ["seen"])
        return Finished(text)


def part(**fields: Any) -> dict[str, Any]:
    return {"type": "image", "mediaType": "image/png", **fields}


async def test_the_engine_is_given_what_the_prompt_carried(api: Client, script: ScriptedEngine) -> None:
    script.behaviour = seen = Seen()
    session = await api.session()
    data = base64.b64encode(PIXEL).decode()
    await api.run(session, "what is this", attachments=[part(data=data, name="a.png")])
    await api.run(session, "and this is nothing")
    assert seen.legs == [(Attachment("image", "image/png", "a.png", PIXEL, size=len(PIXEL)),), ()]


@pytest.fixture
async def address(settings: Any) -> Any:
    """A server with a picture. `asked` counts its requests."""
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True
    asked: list[str] = []

    async def picture(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=PIXEL, status=404 if request.path == "/gone" else 200)

    application = web.Application()
    application.router.add_get("/{name}", picture)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}", asked
    await runner.cleanup()


async def test_an_address_is_fetched_once_however_often_the_leg_is_tried(
    api: Client, script: ScriptedEngine, address: Any
) -> None:
    base, asked = address
    script.behaviour = seen = Seen(crashes=2)
    run = await api.run(await api.session(), "what is this", attachments=[part(url=f"{base}/a.png")])
    assert run["status"] == "completed"
    assert [attachments[0].data for attachments in seen.legs] == [PIXEL] * 3
    assert asked == ["/a.png"]


async def test_an_address_that_gives_nothing_ends_the_run_with_a_sentence(
    api: Client, script: ScriptedEngine, address: Any
) -> None:
    base, _ = address
    run = await api.run(await api.session(), "what is this", attachments=[part(url=f"{base}/gone")])
    assert run["status"] == "failed"
    assert run["error"]["code"] == "unprocessable"
    assert "404" in run["error"]["reason"]
    assert script.begun == 0


@pytest.mark.parametrize(
    "given",
    [
        part(),
        part(data="!!!"),
        part(data="AAAA", url="https://example.com/"),
        part(url="http://127.0.0.1/"),
        part(url="file:///etc/passwd"),
        part(url="https://169.254.169.254/latest"),
        {"type": "video", "mediaType": "video/mp4", "data": "AAAA"},
        {"type": "image", "mediaType": "nonsense", "data": "AAAA"},
    ],
)
async def test_a_bad_attachment_is_refused_by_name(api: Client, given: dict[str, Any]) -> None:
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "x", "attachments": [given]})
    assert answer.error == (400, "bad_request")
    assert (answer.field or "").startswith("attachments")


async def test_attachments_have_a_limit_together(api: Client, settings: Any) -> None:
    settings.GATEWAY_MAX_ATTACHMENT_BYTES = 100
    data = base64.b64encode(b"x" * 60).decode()
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "x", "attachments": [part(data=data)] * 2})
    assert (answer.status, answer.field) == (400, "attachments")


async def test_what_is_fetched_counts_towards_the_limit_together(
    api: Client, script: ScriptedEngine, address: Any, settings: Any
) -> None:
    base, asked = address
    settings.GATEWAY_MAX_ATTACHMENT_BYTES = 3 * len(PIXEL) - 1
    script.behaviour = seen = Seen()
    session = await api.session()
    data = base64.b64encode(PIXEL).decode()
    two = [part(data=data), part(url=f"{base}/a.png")]
    assert (await api.run(session, "two", attachments=two))["status"] == "completed"
    run = await api.run(session, "three", attachments=[*two, part(url=f"{base}/b.png")])
    assert (run["status"], run["error"]["code"]) == ("failed", "unprocessable")
    assert "GATEWAY_MAX_ATTACHMENT_BYTES" in run["error"]["reason"]
    assert asked == ["/a.png", "/a.png", "/b.png"]
    assert len(seen.legs) == 1
