"""The gateway in the test's process in front of a scripted provider that speaks chat completions only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.faces.inference.scripted import SSE, Reply, chunk, sse
from tests.gateway_harness import WAIT, Client, EventReader, Frame, _scope, api, gateway

__all__ = ["api", "gateway"]

Json = dict[str, Any]
URL = "/v1/responses"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def texts(*pieces: str) -> list[bytes]:
    """Returns the stream of a chat completion, a piece for each event."""
    end = [sse(chunk({}, "stop")), sse({**chunk(), "choices": [], "usage": USAGE}, b"data: [DONE]\n\n")]
    return [*(sse(chunk({"role": "assistant", "content": piece})) for piece in pieces), *end]


def streamed(*pieces: str, gate: asyncio.Event | None = None) -> Reply:
    return Reply(pieces=texts(*pieces), headers=SSE, gate=gate)


def whole(text: str) -> Reply:
    message = {"role": "assistant", "content": text}
    body = {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE,
    }  # fmt: skip
    return Reply(pieces=[json.dumps(body).encode()])


@pytest.fixture(autouse=True)
def _configuration(settings: Any, tmp_path: Any) -> None:
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"


def text_of(response: Json) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def numbers(frames: Sequence[Frame]) -> list[int]:
    return [frame.data["sequence_number"] for frame in frames]


async def finished(api: Client, response_id: str) -> Json:
    """Polls a response until it has ended."""
    async with asyncio.timeout(WAIT):
        while True:
            response: Json = (await api.get(f"{URL}/{response_id}")).json
            if response["status"] not in ("queued", "in_progress"):
                return response


@asynccontextmanager
async def posted(
    api: Client, payload: Json, path: str = URL, headers: dict[str, str] | None = None
) -> AsyncIterator[EventReader]:
    """Follows the stream that a POST answers; disconnects at the end of the block."""
    reader = EventReader(_scope("POST", path, {"content-type": "application/json", **api._headers, **(headers or {})}))
    receive, body = reader._receive, [json.dumps(payload).encode()]

    async def receive_body() -> Json:
        if body:
            reader._asked = True
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        return await receive()

    reader._receive = receive_body  # type: ignore[method-assign]
    task = asyncio.create_task(reader.run())
    try:
        await reader.until(lambda: reader.status)
        yield reader
    finally:
        reader.leave()
        async with asyncio.timeout(WAIT):
            await asyncio.wait([task])


async def events_of(api: Client, response_id: str, after: int | None = None) -> list[Frame]:
    """Reads a response's stream to its end."""
    more: Json = {} if after is None else {"starting_after": after}
    async with api.events("", path=f"{URL}/{response_id}", stream="true", **more) as reader:
        assert reader.status == 200, reader.raw
        return await reader.read_to_end()
