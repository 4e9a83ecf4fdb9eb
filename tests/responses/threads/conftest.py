"""Threads over a scripted provider: requests, and what the provider was shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Caller
from tests.gateway_harness import Answer, Client, Frame, GatewayHarness, api, gateway

__all__ = ["api", "gateway"]

Json = dict[str, Any]
URL = "/v1/messages"
CREATE = {"type": "create"}


def user(text: Any) -> Json:
    return {"role": "user", "content": text}


def asked(text: Any, thread: Json | None = CREATE, model: str = "c:m", **fields: Any) -> Json:
    messages = text if isinstance(text, list) else [user(text)]
    about = {} if thread is None else {"thread": thread}
    return {"model": model, "max_tokens": 50, "messages": messages, **about, **fields}


def after(message: Json) -> Json:
    return {"type": "continue", "previous_message_id": message["id"]}


def code_of(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["error"]["details"]["error_code"]


def shown(request: Json) -> list[tuple[str, Any]]:
    """Returns what a provider was shown, as roles and contents."""
    return [(message["role"], message["content"]) for message in request["messages"]]


def reply_of(frames: list[Frame]) -> Json:
    """Returns the first event's message, and checks that the stream has ended."""
    assert frames[-1].event == "message_stop"
    message: Json = frames[0].data["message"]
    return message


async def ask(api: Client, text: Any, thread: Json | None = CREATE, model: str = "c:m", **fields: Any) -> Json:
    answer = await api.post(URL, asked(text, thread, model, **fields))
    assert answer.status == 200, answer.body
    message: Json = answer.json
    return message


@pytest.fixture
def stranger_api(gateway: GatewayHarness, stranger: Caller) -> Client:
    """A client of another tenant with every scope."""
    return gateway.client(stranger)
