"""A complete response made of a stream's events, and the events of a complete response, in the provider's own wire.

Some providers stream what nobody asked to be streamed, or send one JSON object where a stream was asked for. Both were
paid for, so they are used. Nothing is left out: members that this gateway does not know are carried along.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from inference_app.catalogue.config import Wire
from inference_app.conversion.sse import DONE, EventParser, EventTooLarge

Json = dict[str, Any]

_SHAPE_ERRORS = (AttributeError, KeyError, TypeError, IndexError, RecursionError)
_SUMMED = (
    "content",
    "reasoning_content",
    "reasoning",
    "refusal",
    "arguments",
    "text",
    "thinking",
    "data",
    "transcript",
)
"""Strings of a delta that continue the one before; others replace it."""

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


def answer_from_events(events: bytes, wire: Wire) -> bytes:
    """Returns the complete response that the events of a whole stream make; raises ValueError if they make none."""
    try:
        parser = EventParser(max_bytes=len(events) + 1)
        datas = [data for data in (*parser.feed(events), *parser.end()) if data.strip() not in (b"", DONE)]
        chunks = [json.loads(data) for data in datas]
        fold = {"anthropic": _fold_messages, "openai-responses": _fold_responses}.get(wire, _fold_chat)
        return _encode(fold(chunks))
    except (*_SHAPE_ERRORS, EventTooLarge) as error:
        raise ValueError("no response") from error


def events_from_answer(body: bytes, wire: Wire) -> bytes:
    """Returns the events of a stream that carries the complete response; raises ValueError if it is none."""
    try:
        answer = json.loads(body)
        if wire == "anthropic":
            return b"".join(map(_typed_event, _messages_events(answer)))
        if wire == "openai-responses":
            return b"".join(map(_typed_event, _responses_events(answer)))
        return b"".join(b"data: %b\n\n" % data for data in (*map(_encode, _chat_chunks(answer)), DONE))
    except _SHAPE_ERRORS as error:
        raise ValueError("no response") from error


def _encode(value: Any) -> bytes:
    """Encodes as JSON with all digits of its numbers; halves of surrogate pairs stay escapes."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _typed_event(event: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _encode(event))


def _fold_chat(chunks: list[Json]) -> Json:
    answer: Json = {}
    choices: dict[int, Json] = {}
    for chunk in chunks:
        answer |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for given in chunk.get("choices") or ():
            index = given.get("index") or 0
            choice = choices.setdefault(index, {"index": index, "message": {"role": "assistant"}})
            _merge(choice["message"], given.get("delta") or given.get("message") or {})
            for name, value in given.items():
                if name == "logprobs" and isinstance(value, dict):
                    _merge(choice.setdefault("logprobs", {}), value)
                elif name not in ("index", "delta", "message") and value is not None:
                    choice[name] = value
    if not choices or any(not choice.get("finish_reason") for choice in choices.values()):
        raise ValueError("The stream was cut off.")
    for choice in choices.values():
        choice["message"].setdefault("content", None)
        for call in choice["message"].get("tool_calls") or ():
            call.pop("index", None)
    return {**answer, "object": "chat.completion", "choices": [choices[index] for index in sorted(choices)]}


def _merge(into: Json, delta: Mapping[str, Any]) -> None:
    """Adds a delta: texts are continued, lists are merged by `index`, everything else replaces what was."""
    for name, value in delta.items():
        known = into.get(name)
        if isinstance(value, list) and (known is None or isinstance(known, list)):
            _merge_list(into.setdefault(name, known or []) if known is not None else into.setdefault(name, []), value)
        elif isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value)
        elif isinstance(value, dict):
            into[name] = dict(value)
        elif isinstance(value, str) and isinstance(known, str) and name in _SUMMED:
            into[name] = known + value
        elif value is not None or name not in into:
            into[name] = value


def _merge_list(into: list[Any], values: list[Any]) -> None:
    for value in values:
        index = value.get("index") if isinstance(value, dict) else None
        known = next((item for item in into if index is not None and item.get("index") == index), None)
        if known is None:
            into.append(dict(value) if isinstance(value, dict) else value)
        else:
            _merge(known, value)


def _fold_messages(events: list[Json]) -> Json:
    message: Json = {}
    blocks: dict[int, Json] = {}
    inputs: dict[int, str] = {}
    ended = False
    for event in events:
        kind = event.get("type")
        if kind == "message_start":
            message = dict(event["message"])
        elif kind == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif kind == "content_block_delta":
            _add_block_delta(blocks[event["index"]], event["delta"], inputs, event["index"])
        elif kind == "message_delta":
            message |= event["delta"]
            counted = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
            message["usage"] = {**(message.get("usage") or {}), **counted}
        ended = ended or kind == "message_stop"
    if not ended or not message:
        raise ValueError("The stream was cut off.")
    for index, text in inputs.items():
        blocks[index]["input"] = json.loads(text) if text.strip() else {}
    return {**message, "content": [blocks[index] for index in sorted(blocks)]}


def _add_block_delta(block: Json, delta: Json, inputs: dict[int, str], index: int) -> None:
    kind = delta.get("type")
    if kind == "input_json_delta":
        inputs[index] = inputs.get(index, "") + delta["partial_json"]
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
    else:
        for name in ("text", "thinking", "signature"):
            if isinstance(delta.get(name), str):
                block[name] = (block.get(name) or "") + delta[name]


def _fold_responses(events: list[Json]) -> Json:
    last = next((event for event in reversed(events) if event.get("type") in _ENDS), None)
    if last is None:
        raise ValueError("The stream was cut off.")
    response: Json = last["response"]
    if not response.get("output"):
        # Some providers leave the items out of the last event.
        done = [event for event in events if event.get("type") == "response.output_item.done"]
        response["output"] = [event["item"] for event in sorted(done, key=lambda event: event.get("output_index") or 0)]
    return response


def _chat_chunks(answer: Json) -> Iterator[Json]:
    head = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    head["object"] = "chat.completion.chunk"
    for choice in answer["choices"]:
        rest = {name: value for name, value in choice.items() if name not in ("message", "delta", "finish_reason")}
        rest.setdefault("index", 0)
        said = dict(choice.get("message") or choice.get("delta") or {})
        if said.get("tool_calls"):
            said["tool_calls"] = [{"index": at, **call} for at, call in enumerate(said["tool_calls"])]
        yield {**head, "choices": [{**rest, "delta": said, "finish_reason": None}]}
    for choice in answer["choices"]:
        end = {"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
        yield {**head, "choices": [end]}
    if answer.get("usage"):
        yield {**head, "choices": [], "usage": answer["usage"]}


def _messages_events(answer: Json) -> Iterator[Json]:
    blocks = answer["content"]
    begun = {**answer, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(blocks):
        yield from _block_events(index, block)
    delta = {"stop_reason": answer.get("stop_reason") or "end_turn", "stop_sequence": answer.get("stop_sequence")}
    yield {"type": "message_delta", "delta": delta, "usage": answer.get("usage") or {"output_tokens": 0}}
    yield {"type": "message_stop"}


def _block_events(index: int, block: Json) -> Iterator[Json]:
    kind, deltas, begun = block.get("type"), [], dict(block)
    if kind == "text":
        begun |= {"text": ""}
        deltas = [{"type": "text_delta", "text": block.get("text") or ""}]
        deltas += [{"type": "citations_delta", "citation": cited} for cited in begun.pop("citations", None) or ()]
    elif kind == "thinking":
        begun |= {"thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": block.get("thinking") or ""}]
        if block.get("signature"):
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
    elif kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        begun |= {"input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": _encode(block.get("input") or {}).decode()}]
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": index}


def _responses_events(answer: Json) -> Iterator[Json]:
    for number, event in enumerate(_unnumbered_events(answer)):
        yield {**event, "sequence_number": number}


def _unnumbered_events(answer: Json) -> Iterator[Json]:
    begun = {**answer, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(answer["output"]):
        yield from _item_events(index, item)
    status = answer.get("status")
    kind = f"response.{status}" if status in ("incomplete", "failed") else "response.completed"
    yield {"type": kind, "response": answer}


def _item_events(index: int, item: Json) -> Iterator[Json]:
    kind, place = item.get("type"), {"item_id": item.get("id") or "", "output_index": index}
    begun = {**item, "status": "in_progress"}
    inner: list[Json] = []
    if kind == "message":
        begun |= {"content": []}
        for at, part in enumerate(item.get("content") or ()):
            inner += _part_events({**place, "content_index": at}, part)
    elif kind == "function_call":
        begun |= {"arguments": ""}
        arguments = item.get("arguments") or ""
        inner = [
            {"type": "response.function_call_arguments.delta", **place, "delta": arguments},
            {"type": "response.function_call_arguments.done", **place, "arguments": arguments, "name": item["name"]},
        ]
    elif kind == "custom_tool_call":
        begun |= {"input": ""}
        inner = [
            {"type": "response.custom_tool_call_input.delta", **place, "delta": item.get("input") or ""},
            {"type": "response.custom_tool_call_input.done", **place, "input": item.get("input") or ""},
        ]
    elif kind == "reasoning":
        begun |= {"summary": []}
        for at, part in enumerate(item.get("summary") or ()):
            inner += _summary_events({**place, "summary_index": at}, part)
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    yield from inner
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(place: Json, part: Json) -> list[Json]:
    refused = part.get("type") == "refusal"
    member, name = ("refusal", "refusal") if refused else ("text", "output_text")
    text = part.get(member) or ""
    more = {} if refused else {"logprobs": part.get("logprobs") or []}
    return [
        {"type": "response.content_part.added", **place, "part": {**part, member: ""}},
        {"type": f"response.{name}.delta", **place, "delta": text, **more},
        {"type": f"response.{name}.done", **place, member: text, **more},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def _summary_events(place: Json, part: Json) -> list[Json]:
    text = part.get("text") or ""
    return [
        {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **place, "delta": text},
        {"type": "response.reasoning_summary_text.done", **place, "text": text},
        {"type": "response.reasoning_summary_part.done", **place, "part": part},
    ]
