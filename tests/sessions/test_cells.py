"""A whole conversation in a cell: every id that a client gets begins with the cell's code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway_harness import Client

pytestmark = pytest.mark.django_db(transaction=True)

IDS = re.compile(r"(id|Id|ref|token|secret)\Z")
FOREIGN = {"groupId", "agentId", "errorId"}
MADE = re.compile(r"[a-z]+_eu1_([0-9a-z]{26}|[A-Za-z0-9_-]{43})\Z")


@pytest.fixture(autouse=True)
def _cell(settings: Any) -> None:
    settings.GATEWAY_CELL = "eu1"
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True


def ids_of(value: Any, name: str = "") -> Iterator[str]:
    """All ids in a JSON value, by the names of their fields."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from ids_of(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from ids_of(item, name)
    elif isinstance(value, str) and IDS.search(name) and name not in FOREIGN and not value.startswith("whsec_"):
        yield value


async def test_every_id_of_a_conversation_begins_with_the_code(api: Client) -> None:
    shown: list[Any] = []

    async def look(answer: Any) -> Any:
        shown.append(answer.json)
        assert MADE.match(answer.headers["x-request-id"])
        return answer.json

    session = (
        await look(await api.post("/v1/sessions", {"model": "demo:tour", "tools": ["ask_user", "current_time"]}))
    )["sessionId"]
    path = f"/v1/sessions/{session}"
    await look(await api.post("/v1/webhooks", {"url": "http://127.0.0.1:9/", "events": ["agent_end"]}))
    await look(await api.post(f"{path}/stream-token"))
    for text in ("say hello", "use current_time", "approve this", "ask me"):
        seen = (await api.get(path)).json["lastEventIndex"]
        async with api.events(session, follow="session", since=seen) as reader:
            await look(await api.post(f"{path}/prompt", {"text": text}))
            while (frame := await reader.next()).event not in ("agent_end", "approval_required", "ask_user"):
                shown.append(frame.data)
            shown.append(frame.data)
        if frame.event != "agent_end":
            await look(await api.get(f"{path}/status"))
            await api.post(f"{path}/abort")
    for more in ("", "/runs", "/messages", "/events?format=json&limit=1000"):
        await look(await api.get(f"{path}{more}"))
    await look(await api.post(f"{path}/fork"))
    # The ids of events are positions.
    found = {each for each in ids_of(shown) if not each.isdigit()}
    assert {each.partition("_")[0] for each in found} >= {"ses", "run", "msg", "call", "apr", "ask", "whk", "agt"}
    assert [each for each in found if not MADE.match(each)] == []


async def test_ids_of_before_and_of_other_cells_stay_valid(api: Client, settings: Any) -> None:
    sessions = []
    for cell in ("", "us1", "eu1"):
        settings.GATEWAY_CELL = cell
        sessions.append(await api.session())
        run = await api.run(sessions[-1], "hello")
        assert run["status"] == "completed"
    assert [session.count("_") for session in sessions] == [1, 2, 2]
    for session in sessions:
        assert (await api.get(f"/v1/sessions/{session}")).status == 200
        assert (await api.run(session, "again"))["status"] == "completed"
