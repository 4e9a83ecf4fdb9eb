"""The scripted upstream, extended for the relay: complete responses of every wire, embeddings, models, token counts,
garbage, redirects and streams in odd pieces.

Started by `python -m tests.faces.inference.upstream`, like `tests.agents.upstream`; GET /headers returns the headers
of the newest request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvicorn

from tests.agents import upstream, upstream_wires
from tests.agents.upstream import Body, Chunk, Drop, Respond, Send

HEADERS: dict[str, str] = {}
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """The ASGI application; passes requests that it does not know to `tests.agents.upstream`."""
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path == "/headers":
        await upstream.answer(send, 200, HEADERS)
        return
    if scope["method"] == "GET" and path.endswith("/models"):
        await upstream.answer(send, 200, {"object": "list", "data": [{"id": "hello", "object": "model"}]})
        return
    if scope["method"] != "POST" or path == "/reset":
        await upstream.app(scope, receive, send)
        return
    HEADERS.clear()
    HEADERS.update({name.decode(): value.decode() for name, value in scope["headers"]})
    raw = await whole_body(receive)
    body = json.loads(raw)
    odd = ODD.get(body["model"].partition(":")[0])
    if odd is not None:
        await odd(send, body)
    elif path.endswith("/embeddings"):
        await answer_embeddings(send, body)
    elif path.endswith("/count_tokens"):
        await upstream.answer(send, 200, {"input_tokens": len(raw)})
    elif body.get("stream"):
        await upstream.app(scope, replay_body(raw, receive), send)
    else:
        await answer_at_once(scope, body, send)


async def whole_body(receive: Any) -> bytes:
    raw = b""
    while (message := await receive())["type"] == "http.request":
        raw += message.get("body", b"")
        if not message.get("more_body"):
            break
    return raw


def replay_body(raw: bytes, receive: Any) -> Any:
    pending = [{"type": "http.request", "body": raw, "more_body": False}]

    async def again() -> Any:
        return pending.pop() if pending else await receive()

    return again


async def answer_embeddings(send: Send, body: Body) -> None:
    upstream.REQUESTS.append(body)
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vector: Any = [0.5, -0.25]
    if body.get("encoding_format") == "base64":
        vector = "AAAAPwAAgL4="
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    await upstream.answer(send, 200, {"object": "list", "data": data, "model": body["model"], "usage": usage})


async def answer_at_once(scope: dict[str, Any], body: Body, send: Send) -> None:
    """Sends a complete response in the wire that the path names."""
    wire = scope["path"].rpartition("/")[2]
    asked_as, shaped = WHOLE.get(wire, (dict, completion))
    asked = asked_as(body)
    headers = dict(scope["headers"])
    asked["__authorization"] = headers.get(b"authorization", b"").decode()
    if (traceparent := headers.get(b"traceparent")) is not None:
        asked["__traceparent"] = traceparent.decode()
    upstream.REQUESTS.append(asked)
    pieces = upstream.chunks_of(asked)
    try:
        shape = await shaped(asked, pieces)
    except Respond as response:
        await upstream.answer(send, response.status, response.body, response.headers)
    else:
        await upstream.answer(send, 200, shape)


async def completion(body: Body, pieces: AsyncIterator[Chunk]) -> Body:
    """Returns a chat completion."""
    said: Body = {"role": "assistant", "content": "", "reasoning_content": None}
    calls: list[Body] = []
    async for piece in pieces:
        said["content"] += piece.get("content", "")
        if "reasoning_content" in piece:
            said["reasoning_content"] = (said["reasoning_content"] or "") + piece["reasoning_content"]
        for call in piece.get("tool_calls", ()):
            if "id" in call:
                calls.append({"id": f"{call['id']}_{len(calls)}", "type": "function", "function": call["function"]})
            else:
                calls[-1]["function"]["arguments"] += call["function"]["arguments"]
    if calls:
        said["tool_calls"] = calls
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if calls else "stop"}
    shape = {"id": "c1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
    return shape if "-nousage" in body["model"] else {**shape, "usage": USAGE}


async def message(body: Body, pieces: AsyncIterator[Chunk]) -> Body:
    """Returns Anthropic's message, folded from the events of its stream."""
    content: list[Body] = []
    partial: list[str] = []
    shape: Body = {}
    async for event in upstream_wires.as_messages(body, pieces):
        if event["type"] == "message_start":
            shape = event["message"]
        elif event["type"] == "content_block_start":
            content.append(dict(event["content_block"]))
            partial = []
        elif event["type"] == "content_block_delta":
            fold(content[-1], event["delta"], partial)
        elif event["type"] == "message_delta":
            shape |= event["delta"]
    return {**shape, "content": content}


async def response(body: Body, pieces: AsyncIterator[Chunk]) -> Body:
    """Returns the Responses API's object, folded from the events of its stream."""
    output: list[Body] = []
    said = ""
    async for event in upstream_wires.as_responses(body, pieces):
        if event["type"] == "response.output_item.added":
            said = ""
        elif event["type"].endswith("text.delta"):
            said += event["delta"]
        elif event["type"] == "response.output_item.done":
            item = dict(event["item"])
            if item["type"] == "message":
                item |= {"status": "completed", "content": [{"type": "output_text", "text": said, "annotations": []}]}
            elif item["type"] == "reasoning":
                item["summary"] = [{"type": "summary_text", "text": said}]
            output.append(item)
        elif event["type"] == "response.completed":
            return {**event["response"], "output": output}
    raise AssertionError("a stream ends with its response")


WHOLE: dict[str, tuple[Callable[[Body], Body], Callable[[Body, Any], Awaitable[Body]]]] = {
    "messages": (upstream_wires.from_messages, message),
    "responses": (upstream_wires.from_responses, response),
}


def fold(block: Body, delta: Body, partial: list[str]) -> None:
    if delta["type"] == "text_delta":
        block["text"] += delta["text"]
    elif delta["type"] == "thinking_delta":
        block["thinking"] += delta["thinking"]
    else:
        partial.append(delta["partial_json"])
        block["input"] = json.loads("".join(partial) or "{}") if "".join(partial).endswith("}") else {}


async def absurd(send: Send, body: Body) -> None:
    """Sends a good completion with a usage that no model has."""
    shape = await completion(body, upstream.chunks_of({**body, "model": "hello"}))
    usage = {"prompt_tokens": 2**63, "completion_tokens": 10**30, "total_tokens": 1}
    await upstream.answer(send, 200, {**shape, "usage": usage})


async def garbage(send: Send, body: Body) -> None:
    """Sends a page of HTML with a good status."""
    await page(send, 200, b"<html>SECRET maintenance</html>", (b"content-type", b"text/html"))


async def redirect(send: Send, body: Body) -> None:
    """Redirects the caller."""
    await page(send, 307, b"", (b"location", body["model"].partition(":")[2].encode()))


async def shredded(send: Send, body: Body) -> None:
    """Sends a good stream, a byte at a time, with CRLF."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for delta, finish in (({"content": "Grüße"}, None), ({"content": " \\n\\n"}, None), ({}, "stop")):
        event = upstream.encode_chunk(body, delta, finish).replace(b"\n\n", b"\r\n\r\n")
        for position in range(len(event)):
            await send({"type": "http.response.body", "body": event[position : position + 1], "more_body": True})
            await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": upstream.usage_chunk(body) + b"data: [DONE]\n\n"})


async def torn(send: Send, body: Body) -> None:
    """Breaks off in the middle of an event."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    event = upstream.encode_chunk(body, {"content": "whole"})
    await send({"type": "http.response.body", "body": event + event[:30], "more_body": True})
    raise Drop


async def early_error(send: Send, body: Body) -> None:
    """Fails in the first event of its stream."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    event = b'data: {"error": {"message": "SECRET", "code": "overloaded"}}\n\n'
    await send({"type": "http.response.body", "body": event, "more_body": False})


async def odd_usage(send: Send, body: Body) -> None:
    """Sends usage of no known shape."""
    await page(send, 200, b'{"id": "x", "choices": [{}], "usage": "plenty"}', (b"content-type", b"application/json"))


async def no_answer(send: Send, body: Body) -> None:
    """Sends the JSON in the model's name, behind the colon, with a good status."""
    await page(send, 200, body["model"].partition(":")[2].encode(), (b"content-type", b"application/json"))


async def commented(send: Send, body: Body) -> None:
    """Keeps the connection awake with comments, then fails with the code in the model's name, or sends a completion."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for _ in range(2):
        await send({"type": "http.response.body", "body": b": STILL LOOKING\n\n", "more_body": True})
    if code := body["model"].partition(":")[2]:
        event = b'data: {"error": {"message": "SECRET", "code": %s}, "choices": []}\n\n' % code.encode()
        await send({"type": "http.response.body", "body": event})
        return
    events = upstream.encode_chunk(body, {"content": "Here."}) + upstream.encode_chunk(body, {}, "stop")
    await send({"type": "http.response.body", "body": events + b"data: [DONE]\n\n"})


async def unended(send: Send, body: Body) -> None:
    """Omits the blank line behind its last event, which holds text, finish reason and usage."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    last = json.loads(upstream.encode_chunk(body, {"content": "end."}, "stop").removeprefix(b"data: "))
    event = b"data: " + json.dumps({**last, "usage": USAGE}).encode()
    await send({"type": "http.response.body", "body": upstream.encode_chunk(body, {"content": "The "}) + event})


async def response_failed(send: Send, body: Body) -> None:
    """Starts a response, then fails with the code in the model's name."""
    error = {"code": body["model"].partition(":")[2], "message": "SECRET of the provider"}
    begun: Body = {"id": "resp_1", "object": "response", "status": "in_progress", "error": None, "output": []}
    failed = {**begun, "status": "failed", "error": error}
    if not body.get("stream"):
        await upstream.answer(send, 200, failed)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for number, (kind, shape) in enumerate((("created", begun), ("failed", failed))):
        event = {"type": f"response.{kind}", "sequence_number": number, "response": shape}
        data = f"event: response.{kind}\ndata: {json.dumps(event)}\n\n".encode()
        await send({"type": "http.response.body", "body": data, "more_body": number == 0})


async def telltale(send: Send, body: Body) -> None:
    """Repeats the key of the request in an error."""
    error = {"message": f"{HEADERS['authorization']} is wrong", "code": f"key {HEADERS['authorization']}"}
    if not body.get("stream"):
        await upstream.answer(send, int(body["model"].partition(":")[2]), {"error": error})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    failure = b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    events = upstream.encode_chunk(body, {"content": "So"}) + failure
    await send({"type": "http.response.body", "body": events})


async def page(send: Send, status: int, body: bytes, header: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [header]})
    await send({"type": "http.response.body", "body": body})


ODD = {
    function.__name__.replace("_", "-"): function
    for function in (
        absurd,
        garbage,
        redirect,
        shredded,
        torn,
        early_error,
        odd_usage,
        no_answer,
        commented,
        unended,
        response_failed,
        telltale,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port))
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off"))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
