"""A session that another transaction holds is answered 503 with the time to come again, over REST and the socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from core_app import database
from core_app.errors import Unavailable
from edge_app.http.errors import error_headers
from gateway_project.http.faces import faces
from sessions_app.models import AgentSession
from tests.conftest import Caller
from tests.events.conftest import Holder
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client


@pytest_asyncio.fixture
async def held(api: Client, settings: object) -> AsyncIterator[str]:
    """A session whose stream another transaction holds."""
    settings.GATEWAY_LOCK_TIMEOUT_SECONDS = 0.2  # type: ignore[attr-defined]
    session = await api.session()
    stream_id = await database.run(
        lambda: AgentSession.objects.values_list("stream_id", flat=True).get(public_id=session)
    )
    holder = Holder(stream_id)
    holder.__enter__()
    yield session
    holder.let_go()


async def test_a_held_session_is_503_over_rest(api: Client, held: str) -> None:
    answer = await api.post(f"/v1/sessions/{held}/prompt", {"text": "hello"})
    assert answer.error == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_a_held_session_is_refused_with_the_time_to_come_again_over_the_socket(
    held: str, server: LiveServer, owner: Caller
) -> None:
    """Before, such an action waited for as long as anybody held the row, and kept its thread."""
    async with server.socket(held, owner) as socket:
        reply = await socket.ask("prompt", text="hello")
        assert (reply["ok"], reply["error"], reply["retryAfter"]) == (False, "unavailable", 1)
        assert (await socket.ask("ping"))["ok"]


def test_every_face_says_when_to_come_again() -> None:
    error = Unavailable("Busy.", retry_after=1)
    assert error_headers(error) == {"Retry-After": "1"}
    for face in faces():
        assert face.error_body({"path": "/", "type": "http", "headers": []}, error)
