"""The end of a stream is judged by its events, for every dialect of a client and every wire of a provider."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from inference_app.catalogue.config import Wire
from inference_app.relay.stream import StreamObserver
from tests.faces.inference.conftest import Heard, RelayClient, ledger
from tests.faces.inference.scripted import DROP, PATHS, SSE, STREAM, WIRES, Reply, chunk, question, scripted, sse

PAIRS = list(product(PATHS, WIRES))
COMMENTS = [b": x\n\n"] * 12
WIRE_NAMES: dict[str, Wire] = {"chat": "openai-chat", "responses": "openai-responses", "messages": "anthropic"}


def has_failed(heard: Heard) -> bool:
    """True if the client's stream ends with an error in its dialect."""
    last = heard.events[-1]
    return bool(last.get("error")) or last.get("type") in ("error", "response.failed")


async def stream_of(relay: RelayClient, settings: Any, client: str, wire: str, pieces: list[bytes | None]) -> Heard:
    async with scripted(settings, Reply(pieces=pieces, headers=SSE)):
        return await relay.post(PATHS[client], question(client, f"{WIRES[wire]}:m", stream=True))


@pytest.mark.parametrize(("client", "wire"), PAIRS)
async def test_a_complete_answer_is_complete_whatever_follows_it(
    relay: RelayClient, settings: Any, client: str, wire: str
) -> None:
    events = [event for event in STREAM[wire] if event != b"data: [DONE]\n\n"]
    heard = await stream_of(relay, settings, client, wire, [sse(*events), *COMMENTS])
    assert heard.status == 200
    assert not has_failed(heard), heard.body
    (entry,) = await ledger()
    assert (entry.kind, entry.input_tokens, entry.output_tokens) == ("inference", 11, 7)


TALK = {
    "chat": [chunk({"content": 'then comes "finish_reason":"stop" and\ndata: [DONE]\n\n'})],
    "messages": [
        *STREAM["messages"][:2],
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": 'event: message_stop {"type":"message_stop"} message_stop'},
        },
    ],
    "responses": [
        *STREAM["responses"][:3],
        {**STREAM["responses"][3], "delta": 'event: response.completed {"type":"response.completed"}'},
    ],
}


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@pytest.mark.parametrize("end", [[], [DROP]], ids=["end of body", "reset"])
async def test_text_that_mentions_the_end_is_text(
    relay: RelayClient, settings: Any, client: str, wire: str, end: list[bytes | None]
) -> None:
    heard = await stream_of(relay, settings, client, wire, [sse(*TALK[wire]), *COMMENTS, *end])
    assert has_failed(heard), heard.body
    (entry,) = await ledger()
    assert entry.kind == "inference_estimate"


CUT: list[list[Any]] = [
    [chunk({"content": "a"}, "")],
    [chunk({"content": "a"}, "null")],
    [chunk({"content": "a"}, ""), b"data: [DONE]\n\n"],
    [chunk({"content": "a"}), b"data: [DONE]\n\n"],
]


@pytest.mark.parametrize("client", PATHS)
@pytest.mark.parametrize("events", CUT)
async def test_an_empty_finish_reason_is_none(
    relay: RelayClient, settings: Any, client: str, events: list[Any]
) -> None:
    assert has_failed(await stream_of(relay, settings, client, "chat", [sse(*events)]))


def of_choice(index: int, finish: str | None, text: str = "") -> dict[str, Any]:
    return chunk(choices=[{"index": index, "delta": {"content": text}, "finish_reason": finish}])


@pytest.mark.parametrize(
    "events",
    [
        [of_choice(0, None, "a"), of_choice(1, None, "b"), of_choice(0, "stop")],
        [of_choice(1, None, "b"), of_choice(1, "stop"), of_choice(0, None, "a")],
        [of_choice(0, None, "a"), of_choice(1, "stop", "b")],
    ],
)
@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_every_choice_has_to_be_finished(events: list[Any], size: int) -> None:
    observer, given = StreamObserver("openai-chat", strip_usage=False), sse(*events)
    passed = b"".join(observer.feed(given[at : at + size]) for at in range(0, len(given), size))
    assert passed == given
    assert not observer.ended
    missing = 1 - next(event["choices"][0]["index"] for event in events if event["choices"][0]["finish_reason"])
    observer.feed(sse(of_choice(missing, "length")))
    assert observer.ended


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
@pytest.mark.parametrize("size", [1, 7, 300, 100_000])
def test_nothing_changes_on_the_way_however_it_is_cut(wire: str, separators: tuple[str, str], size: int) -> None:
    names = [f"event: {e['type']}\n" if isinstance(e, dict) and wire != "chat" else "" for e in STREAM[wire]]
    datas = [e if isinstance(e, bytes) else json.dumps(e, separators=separators).encode() for e in STREAM[wire]]
    given = b": hello\n\n" + b"".join(
        data if data.startswith(b"data") else name.encode() + b"data: " + data + b"\n\n"
        for name, data in zip(names, datas, strict=True)
    )
    observer = StreamObserver(WIRE_NAMES[wire], strip_usage=False)
    passed = b"".join(observer.feed(given[at : at + size]) for at in range(0, len(given), size)) + observer.finish()
    assert passed == given
    assert observer.ended
    assert observer.counted_whole
    assert observer.usage is not None
    assert (observer.usage.input, observer.usage.output) == (11, 7)


@pytest.mark.parametrize(("client", "wire"), PAIRS)
async def test_an_event_with_empty_data_is_passed_over(
    relay: RelayClient, settings: Any, client: str, wire: str
) -> None:
    events = STREAM[wire]
    pieces = [sse(events[0]), b"data:\n\n", b"data: \n\n", sse(*events[1:])]
    heard = await stream_of(relay, settings, client, wire, [b"".join(pieces)])
    assert not has_failed(heard), heard.body
    assert b"data:\n" not in heard.body


@pytest.mark.parametrize("stream", [b"data: [DONE]\n\n", b": x\n\n", b""])
@pytest.mark.parametrize("client", PATHS)
async def test_a_stream_of_nothing_is_a_failed_attempt(
    relay: RelayClient, settings: Any, client: str, stream: bytes
) -> None:
    async with scripted(settings, Reply(pieces=[stream], headers=SSE)):
        heard = await relay.post(PATHS[client], question(client, "c-first", stream=True))
    assert (heard.status, heard.headers.get("x-gateway-provider")) == (200, "second")


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
@pytest.mark.parametrize("number", [1, 3])
def test_chunks_of_a_known_shape_hide_nothing(separators: tuple[str, str], number: int) -> None:
    """After many chunks that differ in their text alone, everything else is still seen."""
    usual = chunk({"content": "word "})
    odd: list[dict[str, Any]] = [
        chunk({"content": "word "}, "stop"),
        {**usual, "error": {"message": "x"}},
        {**usual, "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        {**usual, "choices": [*usual["choices"], {"index": 1, "delta": {"content": "x"}, "finish_reason": None}]},
        {**usual, "choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}, *usual["choices"]]},
    ]

    def encoded(*events: Any) -> bytes:
        return b"".join(b"data: %b\n\n" % json.dumps(event, separators=separators).encode() for event in events)

    for which, event in enumerate(odd):
        observer = StreamObserver("openai-chat", strip_usage=False)
        pieces = [encoded(*[usual] * number) for _ in range(20)] + [encoded(*[usual] * (number - 1), event)]
        passed = b"".join(map(observer.feed, pieces))
        assert (passed == b"".join(pieces)) == (which != 1)
        assert (observer.failed is not None) == (which == 1)
        assert (observer.usage is not None) == (which == 2)
        assert observer.ended == (which == 0)
        if which in (3, 4):
            observer.feed(encoded(of_choice(0, "stop")))
            assert observer.ended == (which == 4)
