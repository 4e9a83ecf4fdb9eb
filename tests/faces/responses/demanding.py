"""A provider of three wires that thinks, signs its thoughts, and refuses a conversation in which one is missing.

Started by `python -m tests.faces.responses.demanding`. It demands what real ones do: Gemini 3 a signature, or Google's
placeholder for a lost one, with the first call of each step (`/gemini/v1/chat/completions`), thinking models of
DeepSeek `reasoning_content` (`/v1/chat/completions`), Anthropic its thinking before the tool use that goes on while it
is to think (`/v1/messages`), the Responses API encrypted reasoning before each call with an id (`/v1/responses`).
`GET /requests` tells of each request in `__refused` why it was refused, and in `__lost` the thoughts that it has lost.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn

from inference_app.catalogue.config import Wire
from inference_app.conversion.fit import SKIP_SIGNATURE
from tests.agents import upstream
from tests.agents.upstream import Body, Send
from tests.conformance import Refused, require
from tests.faces.inference.upstream import whole_body
from tests.faces.responses.upstream import LOOK, MEND, is_shell, shell_call

SIGNATURE_BYTES = 1500
"""Real signatures have some hundred to some thousand bytes."""

MODELS: dict[str, Wire] = {
    "gemini:gemini-3-pro": "openai-chat",
    "deepseek:deepseek-reasoner": "openai-chat",
    "claude-sonnet-4-6": "anthropic",
    "openai:gpt-5": "openai-responses",
}
"""The models that this provider plays, and their wires."""

ONCE_MORE = "once more"
"""Words of the second prompt."""


@dataclass(frozen=True)
class Step:
    """One response: its thought, its text, and the commands that it runs, with the ids of their calls."""

    name: str
    text: str = ""
    commands: tuple[str, ...] = ()

    @property
    def thought(self) -> str:
        return f"I think about {self.name}."

    @property
    def signature(self) -> str:
        digest = hashlib.sha256(self.name.encode()).digest()
        return base64.b64encode(digest * (SIGNATURE_BYTES // len(digest))).decode()

    def calls(self, tools: dict[str, Body]) -> Iterator[tuple[str, str, str]]:
        """Yields the id, name and arguments of each call."""
        for number, command in enumerate(self.commands):
            yield f"call_{self.name}_{number}", *shell_call(tools, command)


STEPS = (
    Step("look", "Looking.", (LOOK, "ls")),
    Step("mend", commands=(MEND,)),
    Step("report", "Fixed the sum."),
    Step("check", commands=(LOOK,)),
    Step("end", "Checked the sum."),
)
ASIDE = Step("aside", "Sums")
"""The response to requests beside the task, such as for a title."""

SIGNED = {f"call_{step.name}_{number}": step for step in STEPS for number in range(len(step.commands))}


def next_step(results: int, said: str, tools: dict[str, Body]) -> Step:
    """Returns the response to a conversation with so many tool results and these words of the user."""
    if not any(map(is_shell, tools)):
        return ASIDE
    if ONCE_MORE in said:
        return STEPS[3] if results < 4 else STEPS[4]
    return STEPS[0] if results < 2 else STEPS[1] if results < 3 else STEPS[2]


def _said(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content or ())


def _event(event: Body) -> bytes:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


# Chat completions


Lost = list[str]
"""The names of the steps whose thoughts a conversation has lost."""


def chat_step(body: Body, lost: Lost, *, signed: bool) -> tuple[Step, dict[str, Body]]:
    """Returns the next step of a chat request and its tools, after the check of its history."""
    for message in body["messages"]:
        calls = message.get("tool_calls") or ()
        if not calls or (step := SIGNED.get(calls[0]["id"])) is None:
            continue
        if signed:
            given = ((calls[0].get("extra_content") or {}).get("google") or {}).get("thought_signature")
            require(given in (step.signature, SKIP_SIGNATURE), f"Call {calls[0]['id']} has no thought_signature.")
            lost += [] if given == step.signature else [step.name]
        else:
            require("reasoning_content" in message, f"Missing `reasoning_content` of {step.name}.")
            lost += [] if message["reasoning_content"] == step.thought else [step.name]
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()}
    results = sum(message["role"] == "tool" for message in body["messages"])
    said = " ".join(_said(message["content"]) for message in body["messages"] if message["role"] == "user")
    return next_step(results, said, tools), tools


def chat_message(step: Step, tools: dict[str, Body], *, signed: bool) -> Body:
    message: Body = {"role": "assistant", "content": step.text or None}
    if not signed:
        message["reasoning_content"] = step.thought
    calls: list[Body] = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in step.calls(tools)
    ]
    if calls:
        message["tool_calls"] = calls
    if signed:
        (calls[0] if calls else message)["extra_content"] = {"google": {"thought_signature": step.signature}}
    return message


def chat_events(body: Body, message: Body) -> Iterator[bytes]:
    calls = message.pop("tool_calls", ())
    extra = message.pop("extra_content", None)
    yield upstream.encode_chunk(body, {"role": "assistant", "reasoning_content": message.get("reasoning_content")})
    yield upstream.encode_chunk(body, {"content": message["content"]})
    for index, call in enumerate(calls):
        yield upstream.encode_chunk(body, {"tool_calls": [{"index": index, **call}]})
    yield upstream.encode_chunk(body, {"extra_content": extra} if extra else {}, "tool_calls" if calls else "stop")
    yield upstream.usage_chunk(body) + b"data: [DONE]\n\n"


def chat_answer(body: Body, lost: Lost, *, signed: bool) -> tuple[Body, Iterator[bytes]]:
    step, tools = chat_step(body, lost, signed=signed)
    message = chat_message(step, tools, signed=signed)
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if step.commands else "stop"}
    shape = {"id": "c1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return {**shape, "usage": usage}, chat_events(body, dict(message))


# Anthropic Messages


def messages_answer(body: Body, lost: Lost) -> tuple[Body, Iterator[bytes]]:
    results, said = 0, ""
    for message in body["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else []
        if message["role"] == "user":
            said += " " + _said(message["content"])
            results += sum(block["type"] == "tool_result" for block in blocks)
        used = [SIGNED[block["id"]] for block in blocks if block["type"] == "tool_use" and block["id"] in SIGNED]
        thoughts = [(b["thinking"], b["signature"]) for b in blocks if b["type"] == "thinking"]
        lost += [step.name for step in used[:1] if (step.thought, step.signature) not in thoughts]
    last = [m["content"] for m in body["messages"] if m["role"] == "assistant"][-1:]
    blocks = last[0] if last and isinstance(last[0], list) else []
    goes_on = [block["id"] for block in blocks if block["type"] == "tool_use" and block["id"] in SIGNED]
    thinks = (body.get("thinking") or {}).get("type") == "enabled"
    require(not (thinks and goes_on and SIGNED[goes_on[0]].name in lost), "Expected `thinking`, but found `tool_use`.")
    tools = {tool["name"]: {**tool, "parameters": tool.get("input_schema")} for tool in body.get("tools") or ()}
    step = next_step(results, said, tools)
    content: list[Body] = [{"type": "thinking", "thinking": step.thought, "signature": step.signature}]
    content += [{"type": "text", "text": step.text}] if step.text else []
    for call_id, name, arguments in step.calls(tools):
        content.append({"type": "tool_use", "id": call_id, "name": name, "input": json.loads(arguments)})
    usage = {"input_tokens": 11, "output_tokens": 7, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0}
    shape = {"id": f"msg_{step.name}", "type": "message", "role": "assistant", "model": body["model"]}
    reason = "tool_use" if step.commands else "end_turn"
    whole = {**shape, "content": content, "stop_reason": reason, "stop_sequence": None, "usage": usage}
    return whole, messages_events(whole)


def messages_events(whole: Body) -> Iterator[bytes]:
    yield _event({"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}})
    for index, block in enumerate(whole["content"]):
        opened, deltas = _opened(block)
        yield _event({"type": "content_block_start", "index": index, "content_block": opened})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": delta, "usage": whole["usage"]})
    yield _event({"type": "message_stop"})


def _opened(block: Body) -> tuple[Body, list[Body]]:
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    if block["type"] == "tool_use":
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    deltas = [
        {"type": "thinking_delta", "thinking": block["thinking"]},
        {"type": "signature_delta", "signature": block["signature"]},
    ]
    return {"type": "thinking", "thinking": "", "signature": ""}, deltas


# Responses


def responses_answer(body: Body, lost: Lost) -> tuple[Body, Iterator[bytes]]:
    results, said = 0, ""
    thought: Any = None
    items = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]
    for item in items:
        kind = item.get("type", "message")
        if kind == "reasoning":
            thought = item.get("encrypted_content")
        elif kind in ("function_call", "custom_tool_call"):
            step = SIGNED.get(item["call_id"])
            known = step is None or step.signature == thought
            require(known or not item.get("id"), f"{item['call_id']} was provided without its required reasoning item.")
            lost += [] if step is None or known or step.name in lost else [step.name]
        elif kind in ("function_call_output", "custom_tool_call_output"):
            results += 1
        else:
            said += " " + _said(item["content"]) if item["role"] == "user" else ""
    tools = {tool["name"]: tool for tool in body.get("tools") or () if tool["type"] == "function"}
    step = next_step(results, said, tools)
    output: list[Body] = [{"type": "reasoning", "id": f"rs_{step.name}", "summary": _summary(step)}]
    if "reasoning.encrypted_content" in (body.get("include") or ()):
        output[0]["encrypted_content"] = step.signature
    if step.text:
        part = {"type": "output_text", "text": step.text, "annotations": [], "logprobs": []}
        message = {"type": "message", "role": "assistant", "id": f"msg_{step.name}", "status": "completed"}
        output.append({**message, "content": [part]})
    for call_id, name, arguments in step.calls(tools):
        call = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name}
        output.append({**call, "arguments": arguments, "status": "completed"})
    usage = {
        "input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
        "input_tokens_details": {"cached_tokens": 3}, "output_tokens_details": {"reasoning_tokens": 2},
    }  # fmt: skip
    shape = {"id": f"resp_{step.name}", "object": "response", "created_at": 1, "model": body["model"], "error": None}
    whole = {**shape, "status": "completed", "output": output, "usage": usage}
    return whole, responses_events(whole)


def _summary(step: Step) -> list[Body]:
    return [{"type": "summary_text", "text": step.thought}]


def responses_events(whole: Body) -> Iterator[bytes]:
    events: list[Body] = [{"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}}]
    for index, item in enumerate(whole["output"]):
        at = {"item_id": item["id"], "output_index": index}
        emptied = {name: value for name, value in item.items() if name != "encrypted_content"}
        emptied |= {name: [] for name in ("summary", "content") if name in item}
        emptied |= {name: "" for name in ("arguments",) if name in item}
        events.append({"type": "response.output_item.added", "output_index": index, "item": emptied})
        if item["type"] == "message":
            part, placed = item["content"][0], {**at, "content_index": 0}
            events += [
                {"type": "response.content_part.added", **placed, "part": {**part, "text": ""}},
                {"type": "response.output_text.delta", **placed, "delta": part["text"], "logprobs": []},
                {"type": "response.output_text.done", **placed, "text": part["text"], "logprobs": []},
                {"type": "response.content_part.done", **placed, "part": part},
            ]
        elif item["type"] == "reasoning":
            part, placed = item["summary"][0], {**at, "summary_index": 0}
            events += [
                {"type": "response.reasoning_summary_part.added", **placed, "part": {**part, "text": ""}},
                {"type": "response.reasoning_summary_text.delta", **placed, "delta": part["text"]},
                {"type": "response.reasoning_summary_text.done", **placed, "text": part["text"]},
                {"type": "response.reasoning_summary_part.done", **placed, "part": part},
            ]
        else:
            events += [
                {"type": "response.function_call_arguments.delta", **at, "delta": item["arguments"]},
                {"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]},
            ]
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        yield _event({**event, "sequence_number": number})


# The application

PATHS: dict[str, Callable[[Body, Lost], tuple[Body, Iterator[bytes]]]] = {
    "/gemini/v1/chat/completions": partial(chat_answer, signed=True),
    "/v1/chat/completions": partial(chat_answer, signed=False),
    "/v1/messages": messages_answer,
    "/v1/responses": responses_answer,
}
"""The response of each path, whole and as events."""


async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] != "http":
        return
    path = scope["path"]
    if scope["method"] != "POST" or path not in PATHS:
        await upstream.app(scope, receive, send)
        return
    body = json.loads(await whole_body(receive))
    lost: Lost = []
    upstream.REQUESTS.append(recorded := {**body, "__path": path, "__lost": lost})
    try:
        whole, events = PATHS[path](body, lost)
    except Refused as error:
        recorded["__refused"] = str(error)
        await upstream.answer(send, 400, {"error": {"type": "invalid_request_error", "message": str(error)}})
        return
    if not body.get("stream"):
        await upstream.answer(send, 200, whole)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for event in events:
        await upstream.piece(send, event)
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    listener = socket.create_server(("127.0.0.1", parser.parse_args().port))
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off"))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
