"""The events of a run that breaks off, as a connection is shown them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from events_app.batches import StoredEvent
from faces.agentbus.session_view import MAX_CONTENT, SessionView


def shown(view: SessionView, offset: int, type_: str, **data: Any) -> list[dict[str, Any]]:
    event = StoredEvent(1, offset, type_, "run", json.dumps(data).encode())
    return [json.loads(payload) for name, payload in view.show(event) if name != "session.update"]


@pytest.mark.parametrize("characters", [10, MAX_CONTENT, MAX_CONTENT + 1, 3 * MAX_CONTENT])
def test_a_run_that_breaks_off_shows_all_of_its_text_or_none(characters: int) -> None:
    view = SessionView("session")
    view.conversation = True
    shown(view, 1, "message_start", messageId="m")
    text = "x" * characters
    for place in range(0, characters, 1000):
        shown(view, 2 + place, "message_delta", delta=text[place : place + 1000])
    last = shown(view, 2 + characters, "agent_abort", reason="aborted", message="")[-1]
    assert last["done"]
    assert last["content"] == (text if characters <= MAX_CONTENT else None)


@pytest.mark.parametrize("truncated", [True, False])
def test_the_beginning_of_a_text_is_not_shown_as_the_whole(truncated: bool) -> None:
    view = SessionView("session")
    view.conversation = True
    cut = {"truncated": True} if truncated else {}
    (message,) = shown(view, 1, "message_end", messageId="m", content="begin", **cut)
    assert message["content"] == "begin"
    assert message.get("truncated", False) is truncated
    (last,) = shown(view, 2, "agent_end", lastMessage={"content": "begin"}, tokenUsage={}, **cut)
    assert last["content"] == (None if truncated else "begin")
