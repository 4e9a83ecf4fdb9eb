"""Requests that are legal in a client's dialect, as hypothesis draws them: with the values that other providers refuse.

Ids of other providers, blank texts, odd media types, forced and allowed tools, hosted tools, signatures of earlier
turns, many stop sequences, small limits: each is legal where the client comes from.
"""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import strategies as st

from inference_app.conversion.call_ids import sign_call_id
from inference_app.conversion.sealed_reasoning import seal_token
from tests.conversion.strategies import NAMES, OBJECTS, TEXTS, optional

Json = dict[str, Any]

BLANKS = st.sampled_from(["", " ", "\n", " \n\t ", "\u00a0"])
SAID = TEXTS | TEXTS.map(lambda text: text + " \n") | BLANKS
SPOKEN = TEXTS.filter(str.strip)
"""Text that Anthropic's clients may send."""

SEALS: st.SearchStrategy[Json] = st.sampled_from(
    [
        {"format": "anthropic", "signature": "c2ln"},
        {"format": "anthropic", "data": "ZGF0YQ=="},
        {"format": "openai", "id": "rs_1", "encrypted_content": "gAAAA"},
        {"format": "details", "details": [{"type": "reasoning.encrypted", "data": "x", "index": 0}]},
        {"format": "google", "signature": "AQID"},
    ]
)
SIGNATURES = st.sampled_from(["S", "c2lnbmF0dXJl", "é"])
CALL_IDS = st.one_of(
    st.from_regex(r"call_[A-Za-z0-9]{24}", fullmatch=True),
    st.from_regex(r"functions\.[a-z]{1,9}:[0-9]", fullmatch=True),
    st.from_regex(r"toolu_[A-Za-z0-9]{60,90}", fullmatch=True),
    st.builds(
        sign_call_id, st.from_regex(r"call_[a-z0-9]{8}", fullmatch=True), st.sampled_from(["S", "c2lnbmF0dXJl", "é"])
    ),
)
PLAIN_IDS = CALL_IDS.filter(lambda call_id: "." not in call_id)
LONG_NAMES = NAMES | st.from_regex(r"[a-z]{1,5}\.[a-z]{60,70}", fullmatch=True)
PNG, JPEG = "iVBORw0KGgo=", "/9j/4AAQ"
IMAGE_URLS = st.sampled_from(
    [
        f"data:image/png;base64,{PNG}",
        f"data:image/jpg;base64,{JPEG}",
        f"data:image/jpg;base64,{base64.b64encode(b'ABC').decode()}",
        f"data:image/png;name=a.png;base64,{PNG}",
        f"data:IMAGE/PNG;base64,{PNG}",
        f"data:image/png;base64,{JPEG}",
        f"data:;base64,{PNG}",
        "https://example.org/cat.png",
    ]
)
FILES = st.sampled_from(
    [
        "data:application/pdf;base64,JVBERi0=",
        f"data:text/plain;base64,{base64.b64encode(b'words').decode()}",
        f"data:text/markdown;charset=utf-8;base64,{base64.b64encode(b'# words').decode()}",
        "data:text/csv,a%2Cb",
    ]
)
SCHEMAS = st.sampled_from(
    [
        {"type": "object"},
        {"type": "object", "properties": {"x": {"type": "string"}}},
        {"type": "object", "properties": {}},
    ]
)
STOPS = st.lists(TEXTS | st.sampled_from(["\n", "\n\n", " "]), max_size=6)
NUMBERS = optional(
    temperature=st.sampled_from([0, 0.5, 1, 1.7, 2]), top_p=st.sampled_from([0.1, 0.97, 1]), stream=st.booleans()
)


def _names(draw: st.DrawFn, names: st.SearchStrategy[str]) -> list[str]:
    return draw(st.lists(names, max_size=3, unique=True))


@st.composite
def chat_requests(draw: st.DrawFn) -> Json:
    """A request of Chat Completions."""
    names = _names(draw, LONG_NAMES)
    messages = [
        {"role": role, "content": draw(SAID)} for role in draw(st.lists(st.sampled_from(["system", "developer"])))
    ]
    for _ in range(draw(st.integers(0, 4))):
        messages += draw(_chat_turn(names))
    messages.append(draw(_chat_user()))
    if draw(st.booleans()):
        messages.append({"role": "assistant", "content": draw(SAID)})
    fields = draw(
        optional(
            max_tokens=st.sampled_from([1, 15, 16, 4000]),
            stop=TEXTS | STOPS.filter(lambda stops: 0 < len(stops) <= 4),
            reasoning_effort=st.sampled_from(["none", "minimal", "low", "high", "xhigh"]),
            user=st.sampled_from(["u", "u" * 64]),
            n=st.sampled_from([1, 2]),
            seed=st.integers(0, 9),
            logprobs=st.just(True),
            metadata=st.just({"a": "b"}),
            thinking=st.just({"type": "enabled", "budget_tokens": 2048}),
            top_k=st.just(5),
        )
    )
    return {"model": "m", "messages": messages, **fields, **draw(NUMBERS), **draw(_chat_tools(names))}


@st.composite
def _chat_tools(draw: st.DrawFn, names: list[str]) -> Json:
    if not names:
        return {}
    tools = [{"type": "function", "function": {"name": name, "parameters": draw(SCHEMAS)}} for name in names]
    chosen = {"type": "function", "function": {"name": draw(st.sampled_from(names))}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [chosen]}}
    choices = [None, "auto", "none", "required", chosen, allowed]
    choice = draw(st.sampled_from(choices))
    fields = draw(optional(parallel_tool_calls=st.booleans()))
    return {"tools": tools, **({} if choice is None else {"tool_choice": choice}), **fields}


@st.composite
def _chat_user(draw: st.DrawFn) -> Json:
    parts: list[Json] = [{"type": "text", "text": draw(SAID)}]
    if draw(st.booleans()):
        parts.append({"type": "image_url", "image_url": {"url": draw(IMAGE_URLS)}})
    if draw(st.booleans()):
        parts.append({"type": "file", "file": {"filename": "a", "file_data": draw(FILES)}})
    return {"role": "user", "content": parts if len(parts) > 1 else draw(st.sampled_from([parts, parts[0]["text"]]))}


@st.composite
def _chat_turn(draw: st.DrawFn, names: list[str]) -> list[Json]:
    kind = draw(st.sampled_from(["user", "assistant", "calls"]))
    if kind == "user":
        return [draw(_chat_user())]
    if kind == "assistant" or not names:
        return [{"role": "assistant", "content": draw(SAID)}]
    ids = draw(st.lists(CALL_IDS, min_size=1, max_size=3, unique=True))
    calls = [
        {
            "id": call_id,
            "type": "function",
            "function": {
                "name": draw(st.sampled_from(names)),
                "arguments": draw(st.sampled_from(["{}", '{"n":1.50}'])),
            },
        }
        for call_id in ids
    ]
    message: Json = {"role": "assistant", "content": draw(st.none() | SAID), "tool_calls": calls}
    if draw(st.booleans()):
        detail = {
            "type": "reasoning.text",
            "text": "t",
            "signature": "c2ln",
            "format": "anthropic-claude-v1",
            "index": 0,
        }
        message["reasoning_details"] = [detail]
    return [message, *({"role": "tool", "tool_call_id": call_id, "content": draw(SAID)} for call_id in ids)]


@st.composite
def messages_requests(draw: st.DrawFn) -> Json:
    """A request of Anthropic Messages."""
    names = _names(draw, NAMES)
    messages = [{"role": "user", "content": draw(_user_content())}]
    for _ in range(draw(st.integers(0, 4))):
        messages += draw(_messages_turn(names))
    if draw(st.booleans()) and messages[-1]["role"] == "user":
        messages.append({"role": "assistant", "content": draw(SPOKEN.map(str.rstrip))})
    headers = "x-anthropic-billing-header: cc_version=1; cch=ab12c;"
    system = st.none() | SPOKEN | st.just([{"type": "text", "text": headers}, {"type": "text", "text": "Be kind."}])
    fields = draw(
        optional(
            stop_sequences=st.lists(SPOKEN, min_size=1, max_size=3),
            top_k=st.just(5),
            metadata=st.sampled_from([{"user_id": "u" * 200}, {"user_id": "u"}]),
            thinking=st.just({"type": "enabled", "budget_tokens": 1024}),
            output_config=st.sampled_from([{"effort": "max"}, {"effort": "low"}]),
            service_tier=st.just("auto"),
        )
    )
    given = draw(system)
    numbers = draw(NUMBERS)
    numbers["temperature"] = min(numbers.get("temperature", 1), 1)
    limit = draw(st.sampled_from([1, 15, 2000]))
    body = {
        "model": "m",
        "max_tokens": limit,
        "messages": messages,
        **fields,
        **numbers,
        **draw(_messages_tools(names)),
    }
    return body if given is None else {**body, "system": given}


@st.composite
def _messages_tools(draw: st.DrawFn, names: list[str]) -> Json:
    tools: list[Json] = [{"name": name, "input_schema": draw(SCHEMAS)} for name in names]
    if draw(st.booleans()):
        tools.append({"type": "web_search_20250305", "name": "web_search"})
    if not tools:
        return {}
    chosen = {"type": "tool", "name": draw(st.sampled_from([tool["name"] for tool in tools]))}
    choice = draw(st.sampled_from([None, {"type": "auto"}, {"type": "any"}, {"type": "none"}, chosen]))
    return {"tools": tools, **({} if choice is None else {"tool_choice": choice})}


@st.composite
def _user_content(draw: st.DrawFn) -> Any:
    text = draw(SPOKEN)
    if draw(st.booleans()):
        return text
    source = {"type": "base64", "media_type": draw(st.sampled_from(["image/png", "image/jpeg"])), "data": PNG}
    document = {"type": "text", "media_type": "text/plain", "data": "words"}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    blocks = [{"type": "text", "text": text}, {"type": "image", "source": source}]
    blocks.append({"type": "document", "source": draw(st.sampled_from([document, pdf]))})
    return blocks[: draw(st.integers(1, 3))]


@st.composite
def _messages_turn(draw: st.DrawFn, names: list[str]) -> list[Json]:
    blocks: list[Json] = []
    if draw(st.booleans()):
        token = draw(st.sampled_from(["", "c2ln"]) | SEALS.map(seal_token))
        blocks.append({"type": "thinking", "thinking": "Hm.", "signature": token})
    if draw(st.booleans()):
        blocks.append({"type": "redacted_thinking", "data": draw(SEALS.map(seal_token))})
    text = draw(st.none() | SPOKEN)
    ids = draw(st.lists(PLAIN_IDS, max_size=3, unique=True)) if names else []
    if text or not ids:
        blocks.append({"type": "text", "text": text or "Yes."})
    for call_id in ids:
        name = draw(st.sampled_from(names))
        blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": draw(OBJECTS)})
    contents = st.none() | SAID | st.just([{"type": "text", "text": "x"}])
    results = []
    for call_id in ids:
        given = draw(contents)
        result = {"type": "tool_result", "tool_use_id": call_id, **({} if given is None else {"content": given})}
        results.append(result)
    after: Any = [*results, {"type": "text", "text": draw(SPOKEN)}] if draw(st.booleans()) else results
    return [{"role": "assistant", "content": blocks}, {"role": "user", "content": after or draw(_user_content())}]


@st.composite
def responses_requests(draw: st.DrawFn) -> Json:
    """A request of the Responses API."""
    names = _names(draw, NAMES)
    items: list[Json] = []
    for _ in range(draw(st.integers(0, 4))):
        items += draw(_items(names))
    items.append(draw(_user_item()))
    fields = draw(
        optional(
            instructions=SAID,
            max_output_tokens=st.sampled_from([16, 4000]),
            reasoning=st.sampled_from([{"effort": "low"}, {"effort": "minimal", "summary": "auto"}]),
            user=st.just("u" * 64),
            store=st.just(False),
            include=st.just(["reasoning.encrypted_content"]),
            truncation=st.just("auto"),
            text=st.just({"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}),
            top_logprobs=st.just(3),
        )
    )
    body = {"model": "m", "input": items, **fields, **draw(NUMBERS), **draw(_responses_tools(names))}
    return {**body, "input": draw(SPOKEN)} if draw(st.integers(0, 9)) == 0 else body


@st.composite
def _responses_tools(draw: st.DrawFn, names: list[str]) -> Json:
    tools: list[Json] = [
        {"type": "function", "name": name, "parameters": draw(SCHEMAS), "strict": False} for name in names
    ]
    if draw(st.booleans()):
        tools.append({"type": "web_search"})
    if draw(st.booleans()):
        tools.append({"type": "custom", "name": "patch", "format": {"type": "text"}})
    if not tools:
        return {}
    own = [{"type": tool["type"], "name": tool["name"]} for tool in tools if "name" in tool]
    hosted = [{"type": "web_search"}] if {"type": "web_search"} in tools else []
    allowed = [{"type": "allowed_tools", "mode": "required", "tools": (own + hosted)[:1]}] if own + hosted else []
    choice = draw(st.sampled_from([None, "auto", "none", "required", *own, *hosted, *allowed]))
    fields = draw(optional(parallel_tool_calls=st.booleans()))
    return {"tools": tools, **({} if choice is None else {"tool_choice": choice}), **fields}


@st.composite
def _user_item(draw: st.DrawFn) -> Json:
    parts = [{"type": "input_text", "text": draw(SAID)}]
    if draw(st.booleans()):
        parts.append({"type": "input_image", "image_url": draw(IMAGE_URLS), "detail": "auto"})
    if draw(st.booleans()):
        parts.append({"type": "input_file", "filename": "a", "file_data": draw(FILES)})
    return {"type": "message", "role": "user", "content": parts}


@st.composite
def _items(draw: st.DrawFn, names: list[str]) -> list[Json]:
    kind = draw(st.sampled_from(["user", "system", "assistant", "calls"]))
    if kind == "user":
        return [draw(_user_item())]
    if kind == "system":
        return [{"role": draw(st.sampled_from(["system", "developer"])), "content": draw(SAID)}]
    items: list[Json] = []
    if draw(st.booleans()):
        token = draw(st.none() | SEALS.map(seal_token))
        summary = [{"type": "summary_text", "text": "Hm."}]
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": token})
    if kind == "assistant" or not names:
        part = {"type": "output_text", "text": draw(SAID), "annotations": []}
        return [*items, {"type": "message", "role": "assistant", "content": [part]}]
    ids = draw(st.lists(CALL_IDS, min_size=1, max_size=3, unique=True))
    for call_id in ids:
        name = draw(st.sampled_from(names))
        items.append({"type": "function_call", "call_id": call_id, "name": name, "arguments": '{"n":1}'})
    for call_id in ids:
        items.append({"type": "function_call_output", "call_id": call_id, "output": draw(SAID)})
    return items
