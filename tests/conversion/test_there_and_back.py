"""Round trips: requests, answers and streams that both wires can express come back unchanged."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inference_app.catalogue.config import Wire
from inference_app.conversion import ClientDialect
from inference_app.conversion.requests.chat_to_messages import chat_to_messages
from inference_app.conversion.requests.chat_to_responses import chat_to_responses
from inference_app.conversion.requests.messages_to_chat import messages_to_chat
from inference_app.conversion.requests.responses_to_chat import responses_to_chat
from inference_app.conversion.tool_names import ToolNames
from tests.conversion.building import Json, call_delta, chat_answer, chat_stream, converter, events_of
from tests.conversion.strategies import NAMES, OBJECTS, TEXTS, TOOLS, optional, turns

examples = settings(max_examples=60, deadline=None)


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def responses_input(spoken: list[tuple[str, Any]]) -> list[Json]:
    items: list[Json] = []
    for role, content in spoken:
        if role != "assistant":
            said: Any = content
            if isinstance(content, tuple):
                text, url = content
                said = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": url}]
            items.append({"type": "message", "role": role, "content": said})
            continue
        text, calls = content
        if text is not None:
            part = {"type": "output_text", "text": text, "annotations": []}
            items.append({"type": "message", "role": "assistant", "content": [part]})
        items += (
            {"type": "function_call", "call_id": call_id, "name": name, "arguments": compact(arguments)}
            for call_id, name, arguments, _ in calls
        )
        items += ({"type": "function_call_output", "call_id": call[0], "output": call[3]} for call in calls)
    return items


RESPONSES_FIELDS = optional(
    max_output_tokens=st.integers(16, 9999),
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1),
    metadata=st.dictionaries(NAMES, TEXTS, max_size=2),
    user=TEXTS,
    reasoning=st.fixed_dictionaries({"effort": st.sampled_from(["low", "medium", "high"])}),
    text=st.sampled_from(
        [
            {"format": {"type": "json_object"}},
            {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}},
            {"verbosity": "low"},
        ]
    ),
    stream=st.just(True),
    prompt_cache_key=TEXTS,
)


@examples
@given(turns(), st.none() | TOOLS, RESPONSES_FIELDS, TEXTS, st.sampled_from(["auto", "none", "required", "first"]))
def test_a_responses_request_comes_back_unchanged_from_chat(
    spoken: list[tuple[str, Any]], tools: list[Json] | None, fields: Json, instructions: str, choice: str
) -> None:
    body: Json = {
        "model": "m",
        "instructions": instructions,
        "input": responses_input(spoken),
        "store": False,
        **fields,
    }
    if tools is not None:
        body["tools"] = [{"type": "function", "strict": False, **tool} for tool in tools]
        body["parallel_tool_calls"] = False
        body["tool_choice"] = {"type": "function", "name": tools[0]["name"]} if choice == "first" else choice
    chat, dropped = responses_to_chat(body, ToolNames())
    assert chat_to_responses(chat) == body
    assert dropped == ()


def messages_turns(spoken: list[tuple[str, Any]]) -> list[Json]:
    messages: list[Json] = []
    results: list[Json] = []
    for role, content in spoken:
        if role == "assistant":
            text, calls = content
            if results:
                messages.append({"role": "user", "content": results})
            blocks = [{"type": "text", "text": text}] if text is not None else []
            uses = [{"type": "tool_use", "id": i, "name": name, "input": args} for i, name, args, _ in calls]
            messages.append({"role": "assistant", "content": text if text and not uses else [*blocks, *uses]})
            results = [{"type": "tool_result", "tool_use_id": call[0], "content": call[3]} for call in calls]
        elif role == "user":
            messages.append({"role": "user", "content": _user_blocks(content, results)})
            results = []
    return [*messages, {"role": "user", "content": results}] if results else messages


def _user_blocks(content: Any, results: list[Json]) -> Any:
    if isinstance(content, str):
        return [*results, {"type": "text", "text": content}] if results else content
    text, url = content
    if url.startswith("data:"):
        media_type, data = url.removeprefix("data:").split(";base64,")
        source = {"type": "base64", "media_type": media_type, "data": data}
    else:
        source = {"type": "url", "url": url}
    return [*results, {"type": "text", "text": text}, {"type": "image", "source": source}]


MESSAGES_FIELDS = optional(
    system=TEXTS,
    temperature=st.floats(0, 1),
    top_p=st.floats(0, 1),
    stop_sequences=st.lists(TEXTS, min_size=1, max_size=3),
    metadata=st.fixed_dictionaries({"user_id": TEXTS}),
    output_config=st.sampled_from(
        [{"effort": "high"}, {"format": {"type": "json_schema", "schema": {"type": "object"}}}]
    ),
    stream=st.just(True),
)
MESSAGES_CHOICES = st.sampled_from(
    [
        None,
        {"type": "auto"},
        {"type": "any", "disable_parallel_tool_use": True},
        {"type": "none"},
        {"type": "tool", "name": "some_tool"},
    ]
)


@examples
@given(turns(), st.none() | TOOLS, MESSAGES_FIELDS, st.integers(1, 9999), MESSAGES_CHOICES)
def test_a_messages_request_comes_back_unchanged_from_chat(
    spoken: list[tuple[str, Any]], tools: list[Json] | None, fields: Json, limit: int, choice: Json | None
) -> None:
    body: Json = {"model": "m", "max_tokens": limit, "messages": messages_turns(spoken), **fields}
    if tools is not None:
        body["tools"] = [
            {"name": tool["name"], "input_schema": tool["parameters"], **_described(tool), "strict": True}
            for tool in tools
        ]
        if choice is not None:
            body["tool_choice"] = choice
    chat, dropped = messages_to_chat(body, ToolNames())
    assert chat_to_messages(chat) == (body, ())
    assert dropped == ()


def _described(tool: Json) -> Json:
    return {"description": tool["description"]} if "description" in tool else {}


CALLS = st.lists(st.tuples(NAMES, OBJECTS), max_size=3)
ENDS = st.sampled_from(["stop", "length", "content_filter"])


def chat_message(text: str | None, thought: str | None, calls: list[tuple[str, Json]]) -> Json:
    message: Json = {"role": "assistant", "content": text, "refusal": None}
    if thought is not None:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": compact(arguments)}}
            for n, (name, arguments) in enumerate(calls)
        ]
    return message


def there_and_back(client: ClientDialect, wire: Wire, answer: Json) -> Json:
    """A chat answer as `client` gets it, read again as the answer of a provider that speaks `wire`."""
    return converter("chat", wire).convert_response(converter(client).convert_response(answer))


def _essence(answer: Json) -> Json:
    return {"choice": {**answer["choices"][0], "logprobs": None}, "usage": answer["usage"], "model": answer["model"]}


@examples
@given(
    st.sampled_from([("responses", "openai-responses"), ("messages", "anthropic")]),
    TEXTS,
    st.none() | TEXTS,
    CALLS,
    ENDS,
)
def test_a_chat_answer_comes_back_unchanged(
    pair: tuple[ClientDialect, Wire], text: str, thought: str | None, calls: list[tuple[str, Json]], end: str
) -> None:
    answer = chat_answer(chat_message(text, thought, calls), "tool_calls" if calls else end)
    assert _essence(there_and_back(*pair, answer)) == _essence(answer)


def _folded(events: list[Json]) -> Json:
    """Returns the message that a client of chat has after its last chunk."""
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    calls: dict[int, Json] = {}
    finish, usage = None, None
    for event in events:
        usage = event.get("usage") or usage
        for choice in event.get("choices") or ():
            finish = choice["finish_reason"] or finish
            for name in ("content", "reasoning_content", "refusal"):
                if choice["delta"].get(name):
                    message[name] = (message.get(name) or "") + choice["delta"][name]
            for piece in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"id": piece.get("id"), "type": "function", "function": {}})
                for name, value in piece["function"].items():
                    call["function"][name] = call["function"].get(name, "") + value
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return {"message": message, "finish": finish, "usage": usage}


@examples
@given(
    st.sampled_from([("responses", "openai-responses"), ("messages", "anthropic")]),
    st.lists(TEXTS, min_size=1, max_size=4),
    st.lists(TEXTS, max_size=2),
    CALLS,
)
def test_a_chat_stream_comes_back_with_the_same_content(
    pair: tuple[ClientDialect, Wire], texts: list[str], thoughts: list[str], calls: list[tuple[str, Json]]
) -> None:
    deltas: list[Json] = [{"reasoning_content": thought} for thought in thoughts]
    deltas += [{"content": text} for text in texts]
    for number, (name, arguments) in enumerate(calls):
        written = compact(arguments)
        deltas.append(call_delta(number, f"call_{number}", name, written[:1]))
        deltas.append(call_delta(number, None, None, written[1:]))
    stream = chat_stream(*deltas, finish="tool_calls" if calls else "stop")
    client, wire = pair
    there, back = converter(client), converter("chat", wire)
    middle = there.feed(stream) + there.finish()
    assert _folded(events_of(back.feed(middle) + back.finish())) == _folded(events_of(stream))


@examples
@given(st.lists(TEXTS, min_size=1, max_size=3), st.none() | TEXTS, CALLS)
def test_a_whole_answer_says_what_a_streamed_one_says(
    texts: list[str], thought: str | None, calls: list[tuple[str, Json]]
) -> None:
    answer = chat_answer(chat_message("".join(texts), thought, calls), "tool_calls" if calls else "stop")
    deltas: list[Json] = [] if thought is None else [{"reasoning_content": thought}]
    deltas += [{"content": text} for text in texts]
    for number, (name, arguments) in enumerate(calls):
        deltas.append(call_delta(number, f"call_{number}", name, compact(arguments)))
    stream = chat_stream(*deltas, finish="tool_calls" if calls else "stop")
    streaming = converter("responses")
    last = events_of(streaming.feed(stream) + streaming.finish())[-1]["response"]
    assert last == converter("responses").convert_response(answer)
