"""A scripted model provider in a process of its own, with the faults that a run may meet. It serves OpenAI's chat wire
and, with the same scenarios, the wires of `upstream_wires`.

`python -m tests.agents.upstream --port 0` prints its port on the first line and serves until it is killed. The model's
name selects the scenario; parameters follow a colon (`words:500`). `GET /requests` returns the requests so far;
`POST /reset` clears them and the counters of `flaky` scenarios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import uvicorn

from tests.agents import checking_provider, upstream_wires

Chunk = dict[str, Any]
Body = dict[str, Any]
Send = Callable[[dict[str, Any]], Any]


class Respond(Exception):
    """A response that is no stream."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


class Drop(Exception):
    """The connection breaks at this point."""


class End(Exception):
    """The stream ends at this point, as if it were complete, but without a finish reason."""


REQUESTS: list[Body] = []
SIZES: list[int] = []
"""The bytes of the requests, which `GET /sizes` returns."""
OPEN: set[int] = set()
"""The streams in progress, which `GET /open` counts."""
SEEN: Counter[str] = Counter()


def error(status: int, code: str, message: str, **headers: str) -> Respond:
    return Respond(status, {"error": {"message": message, "type": code, "code": code, "param": None}}, headers)


def text(*pieces: str) -> Iterator[Chunk]:
    yield from ({"content": piece} for piece in pieces)


def call(index: int, name: str, arguments: str, call_id: str) -> Iterator[Chunk]:
    """Yields a tool call as providers stream it: first the name, then the arguments in two halves."""
    half = len(arguments) // 2
    yield {
        "tool_calls": [{"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}]
    }
    for piece in (arguments[:half], arguments[half:]):
        yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def results_of(body: Body) -> list[str]:
    """Returns the tool results after the newest response."""
    messages = body["messages"]
    newest = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=len(messages))
    return [str(message["content"]) for message in messages[newest:] if message["role"] == "tool"]


def prompt_of(body: Body) -> str:
    prompts = [message["content"] for message in body["messages"] if message["role"] == "user"]
    last = prompts[-1] if prompts else ""
    return last if isinstance(last, str) else "".join(part.get("text", "") for part in last)


def once_tools(body: Body, *calls: tuple[str, str]) -> Iterator[Chunk]:
    """Calls tools once, all with the id `call_0`, then answers with their results."""
    if results := results_of(body):
        yield from text("Tools said: ", " | ".join(results))
        return
    yield from text("Let me look. ")
    for index, (name, arguments) in enumerate(calls):
        yield from call(index, name, arguments, "call_0")


def hello(body: Body, rest: str) -> Iterator[Chunk]:
    yield from text("Hello", ", ", "world", ".")


def echo(body: Body, rest: str) -> Iterator[Chunk]:
    yield from text(prompt_of(body))


def words(body: Body, rest: str) -> Iterator[Chunk]:
    yield from text(*(f"word{number} " for number in range(int(rest or 100))))


def reasoning(body: Body, rest: str) -> Iterator[Chunk]:
    yield from ({"reasoning_content": piece} for piece in ("First, ", "I think."))
    yield from text("Then I answer.")


def signed(body: Body, rest: str) -> Iterator[Chunk]:
    """Thinks, with a signature that it wants back, and calls a tool once."""
    if not results_of(body):
        yield {"reasoning_content": "I think."}
        yield {"signature": "SIGNATURE"}
    yield from once_tools(body, ("echo", "{}"))


def tagged(body: Body, rest: str) -> Iterator[Chunk]:
    yield from text("<think>", "I think.", "</think>", "Then ", "I answer.")


def refusal(body: Body, rest: str) -> Iterator[Chunk]:
    yield {"refusal": "I will "}
    yield {"refusal": "not."}


def interleaved(body: Body, rest: str) -> Iterator[Chunk]:
    """Calls two tools whose arguments come in turns."""
    if results := results_of(body):
        yield from text(" | ".join(results))
        return
    for deltas in zip(
        *(call(index, "echo", json.dumps({"x": index}), f"call_{index}") for index in (0, 1)), strict=True
    ):
        yield from deltas


def finish(body: Body, rest: str) -> Iterator[Chunk]:
    """`finish:reason` ends a text with that reason."""
    yield from text("Some text")
    yield {"__finish__": rest}


def only_reasoning(body: Body, rest: str) -> Iterator[Chunk]:
    yield {"reasoning_content": "I think and say nothing."}


def tool(body: Body, rest: str) -> Iterator[Chunk]:
    yield from once_tools(body, (rest or "echo", '{"x": 1}'))


def parallel(body: Body, rest: str) -> Iterator[Chunk]:
    yield from once_tools(body, *(("echo", json.dumps({"x": number})) for number in range(int(rest or 3))))


def malformed(body: Body, rest: str) -> Iterator[Chunk]:
    yield from once_tools(body, ("echo", '{"x": '), ("echo", "[1]"))


def unknown_tool(body: Body, rest: str) -> Iterator[Chunk]:
    yield from once_tools(body, ("no_such_tool", "{}"), ("echo", "{}"))


def mixed(body: Body, rest: str) -> Iterator[Chunk]:
    yield from once_tools(body, ("echo", '{"x": 1}'), ("later", "{}"))


def endless(body: Body, rest: str) -> Iterator[Chunk]:
    yield from call(0, "echo", json.dumps({"n": len(body["messages"])}), "call_0")


def many_calls(body: Body, rest: str) -> Iterator[Chunk]:
    for index in range(int(rest or 1000)):
        yield from call(index, "echo", "{}", "call_0")


def unclean(body: Body, rest: str) -> Iterator[Chunk]:
    """Puts lone surrogates and NUL into every string."""
    if results_of(body):
        yield from text("a\ud800b", "\x00c")
        return
    yield {"reasoning_content": "t\udc00\x00"}
    yield from call(0, "echo", '{"k\\ud800": "v\\u0000\\udfff", "n": 123456789012345678901234567890}', "call_\ud8000")


def context_full(body: Body, rest: str) -> Iterator[Chunk]:
    """Refuses conversations longer than `rest` characters."""
    size = sum(len(json.dumps(message)) for message in body["messages"])
    if size > int(rest or 2000):
        raise error(400, "context_length_exceeded", "This model's maximum context length is small. SECRET")
    yield from text(f"Read {len(body['messages'])} messages.")


def summarizing(body: Body, rest: str) -> Iterator[Chunk]:
    if "Summarize the conversation" in json.dumps(body["messages"][0]):
        yield from text("SUMMARY of it")
        return
    yield from context_full(body, rest)


def structured(body: Body, rest: str) -> Iterator[Chunk]:
    """Answers in the requested format; `structured:n` first gives n answers that violate it."""
    refused = sum("refused" in str(message.get("content")) for message in body["messages"])
    if refused < int(rest or 0):
        yield from text('{"city"', ": 5}")
    else:
        yield from text('```json\n{"city": "Rome"}\n```')


def structured_tool(body: Body, rest: str) -> Iterator[Chunk]:
    if not results_of(body):
        yield from once_tools(body, ("echo", "{}"))
    else:
        yield from text('{"city": "Rome"}')


def empty(body: Body, rest: str) -> Iterator[Chunk]:
    """`empty:n` gives n empty answers, then one with text."""
    SEEN["empty:" + rest] += 1
    yield from text("" if SEEN["empty:" + rest] <= int(rest or 99) else "At last.")


def poison(body: Body, rest: str) -> Iterator[Chunk]:
    """Fails for one prompt and answers all others."""
    if prompt_of(body) == "poison":
        raise error(500, "server_error", "SECRET")
    yield from text("Hello, world.")


def status(body: Body, rest: str) -> Iterator[Chunk]:
    raise error(int(rest), f"error_{rest}", f"SECRET body of {rest}")
    yield


def flaky(body: Body, rest: str) -> Iterator[Chunk]:
    """`flaky:503:2` fails twice with 503, then answers."""
    code, _, times = rest.partition(":")
    SEEN["flaky:" + rest] += 1
    if SEEN["flaky:" + rest] <= int(times):
        raise error(int(code), f"error_{code}", "SECRET", **{"retry-after": "0"} if code == "429" else {})
    yield from hello(body, "")


def limited(body: Body, rest: str) -> Iterator[Chunk]:
    raise error(429, "rate_limit_exceeded", "SECRET", **{"retry-after": rest or "3600"})
    yield


def drop(body: Body, rest: str) -> Iterator[Chunk]:
    """`drop:n` breaks the connection after n pieces; 0 before the first byte of the body."""
    yield from text(*(f"piece{number} " for number in range(int(rest or 2))))
    raise Drop


def cut(body: Body, rest: str) -> Iterator[Chunk]:
    yield from text("An answer that just st")
    raise End


def in_stream_error(body: Body, rest: str) -> Iterator[Chunk]:
    yield from text("Half an ans")
    yield {"__error__": {"message": "SECRET overloaded", "type": "server_error", "code": "server_error"}}


def vision(body: Body, rest: str) -> Iterator[Chunk]:
    """Answers with the kinds of the prompt's parts."""
    last = [message["content"] for message in body["messages"] if message["role"] == "user"][-1]
    yield from text(",".join(part["type"] for part in last) if isinstance(last, list) else "text")


def checked(body: Body, rest: str) -> Iterator[Chunk]:
    """`checked:provider:window:rules` is as strict as that provider, and has a window of so many tokens (0: none)."""
    if (refused := checking_provider.refusal_of(body, rest)) is not None:
        raise error(400, *refused)
    yield from checking_provider.answer(body)


def settings(body: Body, rest: str) -> Iterator[Chunk]:
    fields = {key: value for key, value in body.items() if key not in ("messages", "tools", "__sent")}
    yield from text(json.dumps(fields))


async def hang(body: Body, rest: str) -> AsyncIterator[Chunk]:
    """`hang:n` streams n pieces and then hangs."""
    for piece in text(*(f"piece{number} " for number in range(int(rest or 0)))):
        yield piece
    await asyncio.Event().wait()


async def slow(body: Body, rest: str) -> AsyncIterator[Chunk]:
    """`slow:milliseconds:pieces` pauses between pieces, for tests that interfere with a stream."""
    pause, _, count = rest.partition(":")
    for number in range(int(count or 1000)):
        yield {"content": f"word{number} "}
        await asyncio.sleep(int(pause or 10) / 1000)


SCENARIOS: dict[str, Callable[[Body, str], Any]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        hello, echo, words, reasoning, only_reasoning, signed, tagged, refusal, interleaved, finish,
        tool, parallel, malformed, unknown_tool, mixed, endless,
        many_calls, unclean, context_full, summarizing, structured, structured_tool, empty, poison, status, flaky,
        limited, drop, cut, in_stream_error, vision, checked, settings, hang, slow,
    )
}  # fmt: skip


async def chunks_of(body: Body) -> AsyncIterator[Chunk]:
    name, _, rest = body["model"].partition(":")
    name = name.removesuffix("-nousage")
    if name not in SCENARIOS:
        raise error(404, "model_not_found", f"SECRET no model {name}")
    made = SCENARIOS[name](body, rest)
    if hasattr(made, "__aiter__"):
        async for chunk in made:
            yield chunk
    else:
        for chunk in made:
            yield chunk


def encode_chunk(body: Body, delta: Chunk, finish: str | None = None) -> bytes:
    if "signature" in delta:
        sealed = {"type": "reasoning.text", "text": "", "signature": delta["signature"], "index": 0}
        delta = {"reasoning_details": [sealed]}
    if "__finish__" in delta:
        delta, finish = {}, delta["__finish__"]
    if "__error__" in delta:
        return b"data: " + json.dumps({"error": delta["__error__"]}).encode() + b"\n\n"
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def usage_chunk(body: Body) -> bytes:
    usage = {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    chunk = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": body["model"],
        "choices": [],
        "usage": usage,
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/reset":
        REQUESTS.clear()
        SIZES.clear()
        SEEN.clear()
    asides: dict[str, Any] = {"/requests": REQUESTS, "/open": len(OPEN), "/reset": {}, "/sizes": SIZES}
    if scope["path"] in asides:
        await answer(send, 200, asides[scope["path"]])
        return
    raw = b""
    while (message := await receive())["type"] == "http.request":
        raw += message.get("body", b"")
        if not message.get("more_body"):
            break
    body = json.loads(raw)
    SIZES.append(len(raw))
    wire = next((wire for path, wire in WIRES.items() if scope["path"].endswith(path)), None)
    body = wire[0](body) if wire else body
    body["__authorization"] = dict(scope["headers"]).get(b"authorization", b"").decode()
    if (traceparent := dict(scope["headers"]).get(b"traceparent")) is not None:
        body["__traceparent"] = traceparent.decode()
    REQUESTS.append(body)
    try:
        if body.get("stream"):
            streaming = stream_events(body, send, wire[1]) if wire else stream_chunks(body, send)
            await until_gone(receive, streaming)
        else:
            await send_completion(body, send)
    except Respond as response:
        await answer(send, response.status, response.body, response.headers)


async def until_gone(receive: Any, streaming: Coroutine[Any, Any, None]) -> None:
    """Streams until the client closes the connection."""
    work, gone = asyncio.ensure_future(streaming), asyncio.ensure_future(receive())
    OPEN.add(id(work))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        work.cancel()
        gone.cancel()
        OPEN.discard(id(work))


async def stream_chunks(body: Body, send: Send) -> None:
    chunks = aiter(chunks_of(body))
    # The first piece decides whether the response is a stream.
    first = await anext(chunks, None) if not body["model"].startswith(("hang:0", "drop:0")) else None
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    called = first is not None and "tool_calls" in first
    if first is not None:
        await piece(send, encode_chunk(body, first))
    try:
        async for chunk in chunks:
            called |= "tool_calls" in chunk
            await piece(send, encode_chunk(body, chunk))
    except End:
        await send({"type": "http.response.body", "body": b""})
        return
    if not body["model"].startswith("finish:"):
        await piece(send, encode_chunk(body, {}, "tool_calls" if called else "stop"))
    if "-nousage" not in body["model"] and (body.get("stream_options") or {}).get("include_usage"):
        await piece(send, usage_chunk(body))
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


WIRES: dict[str, tuple[Callable[[Body], Body], Callable[[Body, Any], AsyncIterator[Body]]]] = {
    "/messages": (upstream_wires.from_messages, upstream_wires.as_messages),
    "/responses": (upstream_wires.from_responses, upstream_wires.as_responses),
}


async def stream_events(body: Body, send: Send, events_of: Callable[[Body, Any], AsyncIterator[Body]]) -> None:
    chunks = aiter(chunks_of(body))
    first = await anext(chunks, None)

    async def pieces() -> AsyncIterator[Chunk]:
        if first is not None:
            yield first
        async for chunk in chunks:
            yield chunk

    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    number = 0
    try:
        async for event in events_of(body, pieces()):
            await piece(send, upstream_wires.encode_event(event, number))
            number += 1
    except End:
        pass
    await send({"type": "http.response.body", "body": b""})


async def piece(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def send_completion(body: Body, send: Send) -> None:
    content = "".join([chunk.get("content", "") async for chunk in chunks_of(body)])
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    shape = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    }
    await answer(send, 200, shape)


async def answer(send: Send, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
    extra = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    start = [(b"content-type", b"application/json"), *extra]
    await send({"type": "http.response.start", "status": code, "headers": start})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port))
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off"))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
