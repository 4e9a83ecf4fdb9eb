"""A client of chat completions before providers that speak Anthropic Messages or the Responses API."""

from __future__ import annotations

from typing import Any

import pytest

from core_app.errors import BadRequest
from inference_app.conversion import CompletionError
from tests.conversion.building import Json, converted, converter, streamed, typed

FUNCTION = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
PNG_URL = "data:image/png;base64,iVBORw0KGgo="
MESSAGE_START = {
    "type": "message_start",
    "message": {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "real",
        "stop_reason": None,
        "usage": {"input_tokens": 8, "cache_read_input_tokens": 3, "output_tokens": 1},
    },
}


def to_messages(*messages: Json, **fields: Any) -> Json:
    return converted("chat", {"model": "m", "messages": list(messages), **fields}, "anthropic")


def to_responses(*messages: Json, **fields: Any) -> Json:
    return converted("chat", {"model": "m", "messages": list(messages), **fields}, "openai-responses")


def call(call_id: str, arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": "look", "arguments": arguments}}


def test_leading_system_messages_are_the_system() -> None:
    body = to_messages(
        {"role": "system", "content": "a"}, {"role": "developer", "content": "b"}, {"role": "user", "content": "x"}
    )
    assert body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert body["messages"] == [{"role": "user", "content": "x"}]
    assert body["max_tokens"] == 8192


def test_later_system_messages_stay_in_their_places_as_marked_words() -> None:
    turns = to_messages(
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y"},
        {"role": "developer", "content": "now"},
        {"role": "user", "content": "z"},
    )["messages"]
    assert [turn["content"] for turn in turns] == ["x", "y", "<system>\nnow\n</system>", "z"]
    assert turns[2]["role"] == "user"


def test_answers_of_tools_and_the_words_behind_them_are_one_turn() -> None:
    turns = to_messages(
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "Looking.", "tool_calls": [call("a", '{"q": 1}'), call("b", "broken")]},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "B"}]},
        {"role": "user", "content": "and?"},
    )["messages"]
    assert turns[1]["content"] == [
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "a", "name": "look", "input": {"q": 1}},
        {"type": "tool_use", "id": "b", "name": "look", "input": {"invalid_json": "broken"}},
    ]
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "A"},
        {"type": "tool_result", "tool_use_id": "b", "content": "B"},
        {"type": "text", "text": "and?"},
    ]


def test_marks_of_the_cache_are_kept_for_anthropic() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    body = to_messages(
        {"role": "system", "content": [{"type": "text", "text": "long", **mark}]},
        {"role": "user", "content": [{"type": "text", "text": "x", **mark}]},
        tools=[{**TOOL, **mark}],
    )
    assert body["system"] == [{"type": "text", "text": "long", **mark}]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "x", **mark}]
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral"}


def test_images_and_files_become_blocks() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": PNG_URL}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
    ]
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
    assert to_messages({"role": "user", "content": parts})["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "document", "source": pdf, "title": "a.pdf"},
    ]


def test_settings_are_mapped_to_anthropics() -> None:
    body = to_messages(
        {"role": "user", "content": "x"},
        max_completion_tokens=50,
        temperature=1.7,
        stop="END",
        user="u",
        reasoning_effort="minimal",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        tools=[TOOL, {"type": "custom", "custom": {"name": "free"}}],
        tool_choice="required",
        parallel_tool_calls=False,
        seed=1,
        n=1,
        stream_options={"include_usage": True},
        top_k=5,
    )
    del body["messages"]
    assert body == {
        "model": "m",
        "max_tokens": 50,
        "temperature": 1,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "top_k": 5,
    }


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "nobody"}, "messages[0].role"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]},
         "messages[0].content[0].image_url.url"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
    ],
)  # fmt: skip
def test_what_anthropic_cannot_take_is_refused_with_the_field(message: Json, field: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        to_messages(message)
    assert refusal.value.field == field


def test_anthropics_stream_is_chunks_with_a_usage_chunk_and_done() -> None:
    stream = typed(
        MESSAGE_START,
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "a", "name": "look"}},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    )  # fmt: skip
    events = streamed(converter("chat", "anthropic"), stream)
    assert events[-1] == {}
    assert events[-2]["choices"] == []
    assert (events[-2]["usage"]["prompt_tokens"], events[-2]["usage"]["completion_tokens"]) == (11, 7)
    deltas = [choice["delta"] for event in events for choice in event.get("choices", ())]
    sealed = {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm."},
        {"reasoning_details": [sealed]},
        {"content": "Hello"},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "look", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert events[-3]["choices"][0]["finish_reason"] == "tool_calls"
    assert {event["model"] for event in events[:-1]} == {"real"}


def test_the_usage_chunk_is_only_for_who_asked() -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    ended: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
    made = converter("chat", "anthropic", asked)
    events = streamed(made, typed(MESSAGE_START, ended, {"type": "message_stop"}))
    assert not any(event.get("usage") for event in events)
    assert made.usage is not None
    assert made.usage.output_tokens == 7


@pytest.mark.parametrize("last", [{"type": "error", "error": {"type": "overloaded_error", "message": "SECRET"}}, None])
def test_anthropics_error_or_a_cut_stream_fails(last: Json | None) -> None:
    made = converter("chat", "anthropic")
    made.feed(typed(MESSAGE_START, *([last] if last else [])))
    with pytest.raises(CompletionError) as failure:
        made.finish()
    assert failure.value.failure.code == ("overloaded_error" if last else "stream_cut")


def test_a_provider_of_the_responses_api_gets_items() -> None:
    body = to_responses(
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}}]},
        {"role": "assistant", "content": None, "tool_calls": [call("a")]},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "developer", "content": "now"},
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "look"}},
        max_tokens=50,
        seed=1,
    )
    assert body == {
        "model": "m",
        "instructions": "Be kind.",
        "store": False,
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_image", "image_url": PNG_URL, "detail": "low"}],
            },
            {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "A"},
            {"type": "message", "role": "developer", "content": "now"},
        ],
        "tools": [{"type": "function", "strict": False, **FUNCTION}],
        "tool_choice": {"type": "function", "name": "look"},
        "max_output_tokens": 50,
    }


def test_a_free_form_tool_reaches_a_provider_that_has_them_and_its_calls_come_back() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}}
    body = to_responses(
        {"role": "user", "content": "x"}, tools=[{"type": "custom", "custom": {"name": "free", "format": grammar}}]
    )
    assert body["tools"] == [
        {"type": "custom", "name": "free", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}}
    ]
    item = {"type": "custom_tool_call", "id": "c", "call_id": "a", "name": "free", "input": "xx"}
    response = {"id": "r", "model": "real", "status": "completed", "output": [item]}
    answer = converter("chat", "openai-responses").convert_response(response)
    assert answer["choices"][0]["message"]["tool_calls"] == [
        {"id": "a", "type": "custom", "custom": {"name": "free", "input": "xx"}}
    ]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "SECRET"}}},
        {"type": "error", "code": "server_error", "message": "SECRET"},
    ],
)
def test_a_failed_response_fails(event: Json) -> None:
    made = converter("chat", "openai-responses")
    made.feed(typed(event))
    with pytest.raises(CompletionError) as failure:
        made.finish()
    assert failure.value.failure.code == "server_error"
