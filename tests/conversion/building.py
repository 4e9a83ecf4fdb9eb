"""Converters that make the same ids every time, and streams of events to feed them."""

from __future__ import annotations

import itertools
import json
from typing import Any

from inference_app.catalogue.config import Wire
from inference_app.conversion import ClientDialect, RequestConverter
from tests.conformance import refusal

Json = dict[str, Any]

CHAT_USAGE: Json = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
REQUESTS: dict[str, Json] = {
    "responses": {"model": "m", "input": "hi"},
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}},
}


def converter(client: ClientDialect, wire: Wire = "openai-chat", request: Json | None = None) -> RequestConverter:
    """One whose ids count up and whose clock stands; its request is converted already."""
    numbers = itertools.count(1)
    made = RequestConverter(client, wire, new_id=lambda prefix: f"{prefix}_{next(numbers)}", now=lambda: 1000.0)
    sent = made.convert_request(request or REQUESTS[client])
    if request is not None:
        conformance_check(wire, sent)
    return made


def converted(client: ClientDialect, request: Json, wire: Wire = "openai-chat", **extensions: Any) -> Json:
    """A request on another wire, which a provider takes; `extensions` are fields that the provider has beside the
    official ones."""
    sent = RequestConverter(client, wire).convert_request(request)
    conformance_check(wire, sent, extensions=frozenset(extensions))
    return sent


def conformance_check(wire: Wire, sent: Json, extensions: frozenset[str] = frozenset()) -> None:
    """Fails if a provider of the wire would refuse the request."""
    refused = refusal(wire, sent, extensions=extensions)
    assert refused is None, refused


def chat_answer(message: Json, finish: str = "stop", usage: Json | None = CHAT_USAGE) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    shape = {"id": "c1", "object": "chat.completion", "created": 5, "model": "real", "choices": [choice]}
    return {**shape, **({"usage": usage} if usage else {})}


def chunk(delta: Json, finish: str | None = None) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "real", "choices": [choice]}


def data(event: Json) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def chat_stream(*deltas: Json, finish: str | None = "stop", usage: Json | None = CHAT_USAGE) -> bytes:
    """A stream of chat completions."""
    chunks = [chunk(delta) for delta in deltas]
    if finish is not None:
        chunks.append(chunk({}, finish))
    if usage is not None:
        chunks.append({**chunk({}), "choices": [], "usage": usage})
    return b"".join(map(data, chunks)) + b"data: [DONE]\n\n"


def call_delta(index: int, call_id: str | None, name: str | None, arguments: str) -> Json:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    call = {"index": index, "function": function, **({"id": call_id, "type": "function"} if call_id else {})}
    return {"tool_calls": [call]}


def typed(*events: Json) -> bytes:
    """A stream of Anthropic's or of the Responses API's events."""
    return b"".join(b"event: " + event["type"].encode() + b"\n" + data(event) for event in events)


def events_of(stream: bytes) -> list[Json]:
    """The data of a stream; `[DONE]` is an empty event. Every frame must be whole."""
    events = []
    for frame in stream.decode().split("\n\n")[:-1]:
        lines = frame.split("\n")
        body = lines[-1].removeprefix("data: ")
        event = {} if body == "[DONE]" else json.loads(body)
        if len(lines) == 2:
            assert lines[0] == f"event: {event['type']}"
        events.append(event)
    return events


def streamed(made: RequestConverter, stream: bytes) -> list[Json]:
    """Everything the client gets for the provider's stream."""
    return events_of(made.feed(stream) + made.finish())
