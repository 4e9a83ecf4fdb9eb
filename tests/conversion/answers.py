"""Answers of a model in no wire, and the streams and bodies in which a provider of each wire sends them.

A stream has every item cut into deltas, the deltas of all items mixed in any order that keeps the order within each,
and some items whole in their `done` event alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from inference_app.catalogue.config import Wire
from tests.conversion.building import data, typed
from tests.conversion.strategies import NAMES, OBJECTS, TEXTS

Json = dict[str, Any]
Cut = Callable[[str], list[str]]
Sequences = list[list[Json]]
PAGES = [("https://e.example/", "T"), ("https://f.example/", "")]
CHAT_USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
LATER = ("content", "summary", "encrypted_content")
"""Fields of an item that its first event does not have yet."""


@dataclass(frozen=True)
class Call:
    id: str
    name: str
    arguments: str
    signature: str | None = None


@dataclass(frozen=True)
class Answer:
    """An answer of the model. `cut_off`: the token limit ended it after its last complete item."""

    thought: str
    signature: str | None
    text: str
    refusal: str
    calls: tuple[Call, ...]
    pages: tuple[tuple[str, str], ...]
    noted: bool
    cut_off: bool


@st.composite
def answers(draw: st.DrawFn, wire: Wire) -> Answer:
    """An answer that the wire can say."""
    kind = draw(st.sampled_from(["text", "calls", "both", "refusal" if wire != "anthropic" else "text"]))
    text = draw(TEXTS) if kind in ("text", "both") else ""
    count = draw(st.integers(1, 4)) if kind in ("calls", "both") else 0
    calls = [
        Call(
            f"call_{n}",
            draw(NAMES),
            json.dumps(draw(OBJECTS), ensure_ascii=draw(st.booleans())),
            draw(st.none() | st.sampled_from(["S", "c2ln"])) if wire == "openai-chat" else None,
        )
        for n in range(count)
    ]
    return Answer(
        thought=draw(st.just("") | TEXTS),
        signature=draw(st.none() | st.just("c2lnbmVk")) if wire != "openai-chat" else None,
        text=text,
        refusal=draw(TEXTS) if kind == "refusal" else "",
        calls=tuple(calls),
        pages=tuple(
            draw(st.lists(st.sampled_from([("https://e.example/", "T"), ("https://f.example/", "")]), max_size=2))
        )
        if text
        else (),
        noted=bool(text) and wire != "anthropic" and draw(st.booleans()),
        cut_off=draw(st.booleans()) and not count,
    )


def cutter(draw: st.DrawFn) -> Cut:
    """Returns a function that cuts a text into deltas, some of which may be empty."""

    def cut(text: str) -> list[str]:
        edges = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
        return [text[a:b] for a, b in zip([0, *edges], [*edges, len(text)], strict=True)]

    return cut


def mixed(draw: st.DrawFn, sequences: Sequences) -> list[Json]:
    """Returns the events of all sequences in a drawn order. A sequence begins after those before it have begun."""
    left = [list(sequence) for sequence in sequences if sequence]
    started = 0
    merged: list[Json] = []
    while any(left):
        ready = [n for n, sequence in enumerate(left[:started]) if sequence]
        if started < len(left):
            ready.append(started)
        chosen = draw(st.sampled_from(ready))
        started = max(started, chosen + 1)
        merged.append(left[chosen].pop(0))
    return merged


def logprob(token: str) -> Json:
    return {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}


# Chat completions.


def chat_bytes(draw: st.DrawFn, answer: Answer) -> bytes:
    cut = cutter(draw)
    sequences: Sequences = [[{"reasoning_content": piece} for piece in cut(answer.thought)] if answer.thought else []]
    said = [{"content": piece, "noted": answer.noted} for piece in cut(answer.text)] if answer.text else []
    sequences.append(said + [{"annotations": [_annotation(page)]} for page in answer.pages])
    sequences.append([{"refusal": piece} for piece in cut(answer.refusal)] if answer.refusal else [])
    for index, call in enumerate(answer.calls):
        first, *rest = cut(call.arguments)
        began: Json = {"index": index, "id": call.id, "type": "function"}
        if call.signature:
            began["extra_content"] = {"google": {"thought_signature": call.signature}}
        pieces = [{**began, "function": {"name": call.name, "arguments": first}}]
        pieces += [{"index": index, "function": {"arguments": piece}} for piece in rest]
        sequences.append([{"tool_calls": [piece]} for piece in pieces])
    chunks = [_chunk(delta) for delta in mixed(draw, sequences)]
    chunks.append(_chunk({}, _chat_finish(answer)))
    chunks.append(
        {**_chunk({}), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
    )
    return b"".join(map(data, chunks)) + b"data: [DONE]\n\n"


def _chunk(delta: Json, finish: str | None = None) -> Json:
    delta = dict(delta)
    noted = {"content": [logprob(delta["content"])]} if delta.pop("noted", False) else None
    choice = {"index": 0, "delta": delta, "logprobs": noted, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice]}


def _annotation(page: tuple[str, str]) -> Json:
    place = {"url": page[0], "title": page[1], "start_index": 0, "end_index": 1}
    return {"type": "url_citation", "url_citation": place}


def _chat_finish(answer: Answer) -> str:
    return "length" if answer.cut_off else "tool_calls" if answer.calls else "stop"


def chat_body(answer: Answer) -> Json:
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
            **({"extra_content": {"google": {"thought_signature": call.signature}}} if call.signature else {}),
        }
        for call in answer.calls
    ]
    message = {
        "role": "assistant",
        "content": answer.text or None,
        "refusal": answer.refusal or None,
        "reasoning_content": answer.thought or None,
        "annotations": list(map(_annotation, answer.pages)),
        **({"tool_calls": calls} if calls else {}),
    }
    noted = {"content": [logprob(answer.text)]} if answer.noted else None
    choice = {"index": 0, "message": message, "logprobs": noted, "finish_reason": _chat_finish(answer)}
    return {"id": "c1", "object": "chat.completion", "created": 5, "model": "m", "choices": [choice]}


# Anthropic Messages.


def messages_bytes(draw: st.DrawFn, answer: Answer) -> bytes:
    cut = cutter(draw)
    sequences: Sequences = []
    for index, block in enumerate(message_body(answer)["content"]):
        start, deltas = _block_deltas(block, cut)
        at = {"index": index}
        events = [{"type": "content_block_start", **at, "content_block": start}]
        events += [{"type": "content_block_delta", **at, "delta": delta} for delta in deltas]
        sequences.append([*events, {"type": "content_block_stop", **at}])
    body = message_body(answer)
    begun = {**body, "content": [], "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
    ended = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    return typed(
        {"type": "message_start", "message": begun},
        {"type": "ping"},
        *mixed(draw, sequences),
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    )


def _block_deltas(block: Json, cut: Cut) -> tuple[Json, list[Json]]:
    if block["type"] == "text":
        deltas = [{"type": "text_delta", "text": piece} for piece in cut(block["text"])]
        cited = [{"type": "citations_delta", "citation": citation} for citation in block["citations"]]
        return {"type": "text", "text": ""}, cited + deltas
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"])]
        signed = [{"type": "signature_delta", "signature": block["signature"]}] if block["signature"] else []
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas + signed
    raw = block["text"]
    start = {"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}
    return start, [{"type": "input_json_delta", "partial_json": piece} for piece in cut(raw)]


def message_body(answer: Answer) -> Json:
    content: list[Json] = []
    if answer.thought:
        content.append({"type": "thinking", "thinking": answer.thought, "signature": answer.signature or ""})
    if answer.text:
        place = {"type": "web_search_result_location", "cited_text": "x", "encrypted_index": "e"}
        cited = [{**place, "url": url, "title": title} for url, title in answer.pages]
        content.append({"type": "text", "text": answer.text, "citations": cited})
    for call in answer.calls:
        inner = {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
        content.append({**inner, "text": call.arguments})
    stop = "max_tokens" if answer.cut_off else "tool_use" if answer.calls else "end_turn"
    shape = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    return {**shape, "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 4}}


# The Responses API.


def responses_bytes(draw: st.DrawFn, answer: Answer) -> bytes:
    cut = cutter(draw)
    body = response_body(answer)
    sequences: Sequences = []
    for index, item in enumerate(body["output"]):
        whole = draw(st.booleans())
        deltas = [] if whole else _item_deltas(item, cut)
        at = {"output_index": index}
        opened = {
            name: value for name, value in item.items() if name not in ("content", "summary", "encrypted_content")
        }
        opened |= {name: [] for name in ("content", "summary") if name in item}
        opened |= {"arguments": ""} if "arguments" in item else {}
        events = [{"type": "response.output_item.added", **at, "item": opened}]
        events += [{**delta, **at, "item_id": item["id"]} for delta in deltas]
        sequences.append([*events, {"type": "response.output_item.done", **at, "item": item}])
    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    return typed(
        {"type": "response.created", "response": begun},
        *mixed(draw, sequences),
        {"type": f"response.{body['status']}", "response": body},
    )


def _item_deltas(item: Json, cut: Cut) -> list[Json]:
    if item["type"] == "function_call":
        pieces = cut(item["arguments"])
        return [{"type": "response.function_call_arguments.delta", "delta": piece} for piece in pieces]
    if item["type"] == "reasoning":
        pieces = cut(item["summary"][0]["text"])
        kind = "response.reasoning_summary_text.delta"
        return [{"type": kind, "summary_index": 0, "delta": piece} for piece in pieces]
    part = item["content"][0]
    at = {"content_index": 0}
    if part["type"] == "refusal":
        return [{"type": "response.refusal.delta", **at, "delta": piece} for piece in cut(part["refusal"])]
    noted = bool(part["logprobs"])
    deltas: list[Json] = []
    for piece in cut(part["text"]):
        more = [logprob(piece)] if noted else []
        deltas.append({"type": "response.output_text.delta", **at, "delta": piece, "logprobs": more})
    for number, annotation in enumerate(part["annotations"]):
        kind = "response.output_text.annotation.added"
        deltas.append({"type": kind, **at, "annotation_index": number, "annotation": annotation})
    return deltas


def response_body(answer: Answer) -> Json:
    output: list[Json] = []
    status = "incomplete" if answer.cut_off else "completed"
    if answer.thought:
        summary = [{"type": "summary_text", "text": answer.thought}]
        sealed = {"encrypted_content": answer.signature} if answer.signature else {}
        output.append({"type": "reasoning", "id": "rs_1", "summary": summary, **sealed})
    parts: list[Json] = []
    if answer.text:
        cited = [{"type": "url_citation", **_annotation(page)["url_citation"]} for page in answer.pages]
        noted = [logprob(answer.text)] if answer.noted else []
        parts = [{"type": "output_text", "text": answer.text, "annotations": cited, "logprobs": noted}]
    if answer.refusal:
        parts = [{"type": "refusal", "refusal": answer.refusal}]
    if parts:
        output.append({"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": parts})
    for call in answer.calls:
        named = {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "name": call.name}
        output.append({**named, "arguments": call.arguments, "status": "completed"})
    shape: Json = {"id": "resp_1", "object": "response", "created_at": 5, "model": "m", "status": status, "error": None}
    why = {"reason": "max_output_tokens"} if answer.cut_off else None
    counted = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    return {**shape, "incomplete_details": why, "output": output, "usage": counted}


STREAMS: dict[Wire, Callable[[st.DrawFn, Answer], bytes]] = {
    "openai-chat": chat_bytes,
    "anthropic": messages_bytes,
    "openai-responses": responses_bytes,
}
BODIES: dict[Wire, Callable[[Answer], Json]] = {
    "openai-chat": chat_body,
    "anthropic": message_body,
    "openai-responses": response_body,
}
