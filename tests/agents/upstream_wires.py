"""The other wires of the scripted upstream: Anthropic Messages and OpenAI Responses, with the same scenarios.

Requests are converted into chat requests, which the scenarios expect, and the scenarios' chunks into events of the
wire.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

Body = dict[str, Any]
Events = AsyncIterator[Body]
USAGE = {"input_tokens": 11, "output_tokens": 7}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def from_messages(body: Body) -> Body:
    """Converts an Anthropic request into a chat request."""
    messages: list[Body] = [{"role": "system", "content": _text(body["system"])}] if body.get("system") else []
    for message in body["messages"]:
        blocks = message["content"]
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        results = [block for block in blocks if block["type"] == "tool_result"]
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        used = [block for block in blocks if block["type"] == "tool_use"]
        for block in results:
            content = _text(block.get("content", ""))
            messages.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": content})
        if text or used:
            messages.append(
                {"role": message["role"], "content": text, "tool_calls": [_tool_call(b["id"]) for b in used]}
            )
    return {**body, "messages": messages, "__sent": body["messages"]}


def from_responses(body: Body) -> Body:
    """Converts a request of the Responses API into a chat request."""
    messages: list[Body] = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    for item in body["input"]:
        if item.get("type") == "function_call":
            messages.append({"role": "assistant", "content": "", "tool_calls": [_tool_call(item["call_id"])]})
        elif item.get("type") == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": _text(item["output"])})
        elif "role" in item:
            messages.append({"role": item["role"], "content": _text(item["content"])})
    return {**body, "messages": messages, "__sent": body["input"]}


def _tool_call(call_id: str) -> Body:
    return {"id": call_id}


async def as_messages(body: Body, pieces: Events) -> Events:
    """Converts chunks into Anthropic's events."""
    usage = {**USAGE, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0}
    shape = {"id": "m1", "type": "message", "role": "assistant", "content": [], "model": body["model"]}
    yield {"type": "message_start", "message": {**shape, "stop_reason": None, "stop_sequence": None, "usage": usage}}
    index, kind, reason = -1, "", "end_turn"
    async for piece in pieces:
        if "__finish__" in piece:
            reason = piece["__finish__"]
            continue
        if "signature" in piece:
            delta = {"type": "signature_delta", "signature": piece["signature"]}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
            continue
        block, delta = _block(piece)
        if (block["type"] != kind or block["type"] == "tool_use") and block.get("name") != "":
            if kind:
                yield {"type": "content_block_stop", "index": index}
            index, kind = index + 1, block["type"]
            yield {"type": "content_block_start", "index": index, "content_block": block}
        reason = "tool_use" if kind == "tool_use" else reason
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def _block(piece: Body) -> tuple[Body, Body]:
    if "content" in piece:
        return {"type": "text", "text": ""}, {"type": "text_delta", "text": piece["content"]}
    if "reasoning_content" in piece:
        delta = {"type": "thinking_delta", "thinking": piece["reasoning_content"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, delta
    call = piece["tool_calls"][0]
    block = {"type": "tool_use", "id": call.get("id", ""), "name": call["function"].get("name", ""), "input": {}}
    return block, {"type": "input_json_delta", "partial_json": call["function"]["arguments"]}


async def as_responses(body: Body, pieces: Events) -> Events:
    """Converts chunks into events of the Responses API."""
    shape: Body = {"id": "r1", "object": "response", "created_at": 1, "model": body["model"], "output": []}
    yield {"type": "response.created", "response": {**shape, "status": "in_progress"}}
    open_item: Body | None = None
    index = -1
    async for piece in pieces:
        if "signature" in piece and open_item is not None:
            open_item["encrypted_content"] = piece["signature"]
            continue
        started = _item(piece, index + 1)
        if started is not None and (open_item is None or started["type"] != open_item["type"] or "call_id" in started):
            if open_item is not None:
                yield {"type": "response.output_item.done", "output_index": index, "item": open_item}
            index, open_item = index + 1, started
            yield {"type": "response.output_item.added", "output_index": index, "item": dict(started)}
        assert open_item is not None
        for event in _deltas(piece, open_item, index):
            yield event
    if open_item is not None:
        yield {"type": "response.output_item.done", "output_index": index, "item": open_item}
    details = {"input_tokens_details": {"cached_tokens": 3}, "output_tokens_details": {"reasoning_tokens": 2}}
    done = {**shape, "status": "completed", "usage": {**USAGE, **details, "total_tokens": 18}}
    yield {"type": "response.completed", "response": done}


def _item(piece: Body, index: int) -> Body | None:
    if "content" in piece:
        return {"type": "message", "id": f"i{index}", "role": "assistant", "status": "in_progress", "content": []}
    if "reasoning_content" in piece:
        return {"type": "reasoning", "id": f"i{index}", "summary": []}
    call = piece["tool_calls"][0]
    if "id" not in call:
        return None
    name = call["function"]["name"]
    return {"type": "function_call", "id": f"i{index}", "call_id": call["id"], "name": name, "arguments": ""}


def _deltas(piece: Body, item: Body, index: int) -> list[Body]:
    at = {"item_id": item["id"], "output_index": index}
    if "content" in piece:
        delta = {
            "type": "response.output_text.delta",
            **at,
            "content_index": 0,
            "delta": piece["content"],
            "logprobs": [],
        }
        return [delta]
    if "reasoning_content" in piece:
        return [
            {
                "type": "response.reasoning_summary_text.delta",
                **at,
                "summary_index": 0,
                "delta": piece["reasoning_content"],
            }
        ]
    arguments = piece["tool_calls"][0]["function"]["arguments"]
    item["arguments"] += arguments
    return [{"type": "response.function_call_arguments.delta", **at, "delta": arguments}]


def encode_event(event: Body, number: int) -> bytes:
    data = json.dumps({**event, "sequence_number": number})
    return f"event: {event['type']}\ndata: {data}\n\n".encode()
