"""The demo as a provider of relayed requests: a response on OpenAI's chat wire that is made in this process.

It takes the place of a connection, so everything behind it (conversion to Responses and Messages, usage, budgets, the
ledger, metrics) is what every provider's response goes through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from core_app.http1 import Response
from core_app.ids import new_id
from inference_app.demo.pace import pace_acts
from inference_app.demo.script import SCRIPTS, Act, Call, Fail, Say, Think, ToolResult, Turn
from inference_app.relay.large_bodies import run_for_size

_TASKS: set[asyncio.Task[None]] = set()
"""The responses that are being made; a task that nobody refers to may be collected."""

CHARACTERS_PER_TOKEN = 4
ACTS_AT_ONCE = 500
"""Acts between which other tasks of the loop have their turn: an answer may have 100,000."""

_FAILURE = {"error": {"message": "The demo was asked to fail.", "type": "server_error", "code": "demo_failed"}}


class _Source:
    """The end of a response that makes it: paused while its reader is slow, ended when the reader goes."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.read = asyncio.Event()
        self.read.set()

    def pause_reading(self) -> None:
        self.read.clear()

    def resume_reading(self) -> None:
        self.read.set()

    def abort(self) -> None:
        if self.task is not None:
            self.task.cancel()


async def demo_response(body: bytes) -> Response:
    """Returns the demo's response to a chat request; its body comes at the demo's pace."""
    request, turn = await run_for_size(len(body), _read, body)
    model = str(request.get("model"))
    source = _Source()
    response = Response(source)
    script = SCRIPTS.get(model)
    if script is None:
        missing = {"message": f"There is no demo model called {model[:64]!r}.", "code": "model_not_found"}
        _end(response, 404, {"error": {**missing, "type": "invalid_request_error"}})
    elif isinstance(next(script(turn), None), Fail):
        _end(response, 500, _FAILURE)
    else:
        response.status = 200
        streamed = bool(request.get("stream"))
        kind = b"text/event-stream" if streamed else b"application/json"
        response.headers = [(b"content-type", kind)]
        counted = bool((request.get("stream_options") or {}).get("include_usage"))
        made = (
            _stream(response, source, model, pace_acts(script(turn)), turn, counted)
            if streamed
            else _whole(response, model, pace_acts(script(turn), delay_ms=0), turn)
        )
        source.task = asyncio.create_task(made, name="demo response")
        _TASKS.add(source.task)
        source.task.add_done_callback(_TASKS.discard)
    return response


def _read(body: bytes) -> tuple[dict[str, Any], Turn]:
    request = msgspec.json.decode(body)
    return request, turn_of(request)


def turn_of(request: Mapping[str, Any]) -> Turn:
    """Returns the newest prompt of a chat request, the tool results after it, and what the answer may use."""
    messages = [message for message in request.get("messages") or () if isinstance(message, dict)]
    newest = max((i for i, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    names = _names(messages)
    results = [
        ToolResult(names.get(str(message.get("tool_call_id")), "tool"), _text(message.get("content")))
        for message in messages[newest + 1 :]
        if message.get("role") == "tool"
    ]
    return Turn(
        prompt=_text(messages[newest].get("content")) if newest >= 0 else "",
        results=results,
        tools=frozenset(_tools(request)),
        schema=_schema(request),
        first=not any(message.get("role") == "assistant" for message in messages),
    )


def _tools(request: Mapping[str, Any]) -> list[str]:
    if request.get("tool_choice") == "none":
        return []
    given = [tool.get("function") for tool in request.get("tools") or () if isinstance(tool, dict)]
    return [str(function["name"]) for function in given if isinstance(function, dict) and "name" in function]


def _names(messages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the names of the tools that were called, by the ids of the calls."""
    calls = [call for message in messages for call in message.get("tool_calls") or () if isinstance(call, dict)]
    return {str(call.get("id")): str((call.get("function") or {}).get("name", "tool")) for call in calls}


def _schema(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    form = request.get("response_format")
    shape = form.get("json_schema") if isinstance(form, dict) else None
    schema = shape.get("schema") if isinstance(shape, dict) else None
    return schema if isinstance(schema, dict) else None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") or f"[{part.get('type', 'attachment')}]" for part in parts if isinstance(part, dict)]
    return " ".join(map(str, texts))


def _delta(act: Act) -> dict[str, Any]:
    if isinstance(act, Say):
        return {"content": act.text}
    if isinstance(act, Think):
        return {"reasoning_content": act.text}
    assert isinstance(act, Call)
    function = {"name": act.name, "arguments": act.args}
    return {"tool_calls": [{"index": act.number, "id": f"call_{act.number}", "type": "function", "function": function}]}


async def _stream(
    response: Response, source: _Source, model: str, acts: AsyncIterator[Act], turn: Turn, counted: bool
) -> None:
    head = {"id": new_id("cmpl"), "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
    finish, size = "stop", 0

    def send(*choices: dict[str, Any], **more: Any) -> None:
        response.feed(b"data: " + msgspec.json.encode({**head, "choices": choices, **more}) + b"\n\n")

    send({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})
    async for act in _in_turns(acts):
        await source.read.wait()
        finish = "tool_calls" if isinstance(act, Call) else finish
        size += _size(act)
        send({"index": 0, "delta": _delta(act), "finish_reason": None})
    send({"index": 0, "delta": {}, "finish_reason": finish})
    if counted:
        send(usage=_usage(turn, size))
    response.feed(b"data: [DONE]\n\n")
    response.finish()


async def _whole(response: Response, model: str, acts: AsyncIterator[Act], turn: Turn) -> None:
    """Makes a complete response at once: nobody watches it come."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    size = 0
    async for act in _in_turns(acts):
        size += _size(act)
        if isinstance(act, Say):
            texts.append(act.text)
        elif isinstance(act, Think):
            thoughts.append(act.text)
        else:
            calls += [
                {name: value for name, value in call.items() if name != "index"} for call in _delta(act)["tool_calls"]
            ]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    answer = {"id": new_id("cmpl"), "object": "chat.completion", "created": int(time.time()), "model": model}
    response.feed(msgspec.json.encode({**answer, "choices": [choice], "usage": _usage(turn, size)}))
    response.finish()


async def _in_turns(acts: AsyncIterator[Act]) -> AsyncIterator[Act]:
    """Yields the acts, and lets other tasks run between some of them."""
    number = 0
    async for act in acts:
        number += 1
        if number % ACTS_AT_ONCE == 0:
            await asyncio.sleep(0)
        yield act


def _size(act: Act) -> int:
    return len(act.args) if isinstance(act, Call) else len(act.text) if isinstance(act, Say | Think) else 0


def _usage(turn: Turn, size: int) -> dict[str, int]:
    given = len(turn.prompt) + sum(len(result.text) for result in turn.results)
    tokens = {"prompt_tokens": 1 + given // CHARACTERS_PER_TOKEN, "completion_tokens": 1 + size // CHARACTERS_PER_TOKEN}
    return {**tokens, "total_tokens": sum(tokens.values())}


def _end(response: Response, status: int, body: dict[str, Any]) -> None:
    response.status = status
    response.headers = [(b"content-type", b"application/json")]
    response.feed(msgspec.json.encode(body))
    response.finish()
