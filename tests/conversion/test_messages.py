"""Anthropic Messages over chat completions: requests, whole answers and streams."""

from __future__ import annotations

from typing import Any

import pytest

from core_app.errors import BadRequest
from inference_app.conversion import CompletionError, Failure, estimate_tokens
from tests.conversion.building import (
    Json,
    call_delta,
    chat_answer,
    chat_stream,
    chunk,
    converted,
    converter,
    data,
    events_of,
    streamed,
)

PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
PNG_URL = "data:image/png;base64,iVBORw0KGgo="
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}, "cache_control": {"type": "x"}}


def request(*messages: Json, **fields: Any) -> Json:
    return converted("messages", {"model": "m", "max_tokens": 9, "messages": list(messages), **fields})


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def result(use: str, content: Any = "ok", **fields: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": use, "content": content, **fields}


def use(use_id: str, name: str = "look") -> Json:
    return {"type": "tool_use", "id": use_id, "name": name, "input": {"q": 1}}


def test_system_is_the_first_message_as_text_or_blocks() -> None:
    blocks = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]
    assert request(user("x"), system="Be kind.")["messages"][0] == {"role": "system", "content": "Be kind."}
    assert request(user("x"), system=blocks)["messages"][0] == {"role": "system", "content": "a\n\nb"}


def test_a_system_message_in_the_middle_stays_there() -> None:
    spoken = request(user("x"), {"role": "system", "content": "now"}, user("y"))["messages"]
    assert [message["role"] for message in spoken] == ["user", "system", "user"]


def test_tool_results_become_answers_before_the_users_words() -> None:
    spoken = request(
        user("go"),
        {"role": "assistant", "content": [{"type": "text", "text": "Looking."}, use("a"), use("b")]},
        user([result("b", [{"type": "text", "text": "B"}]), result("a", "A"), {"type": "text", "text": "and?"}]),
    )["messages"]
    assert spoken[1]["content"] == "Looking."
    assert [call["function"]["arguments"] for call in spoken[1]["tool_calls"]] == ['{"q":1}', '{"q":1}']
    assert [(m["role"], m["content"]) for m in spoken[2:]] == [("tool", "B"), ("tool", "A"), ("user", "and?")]


def test_a_tool_that_failed_says_so_in_its_answer() -> None:
    turns = ({"role": "assistant", "content": [use("a")]}, user([result("a", "no file", is_error=True)]))
    assert request(*turns)["messages"][1]["content"] == "Error: no file"


def test_an_image_in_a_result_is_shown_after_the_answers() -> None:
    shot = [{"type": "text", "text": "shot"}, {"type": "image", "source": PNG}]
    spoken = request({"role": "assistant", "content": [use("a"), use("b")]}, user([result("a", shot), result("b")]))
    assert [message["role"] for message in spoken["messages"]] == ["assistant", "tool", "tool", "user"]
    assert spoken["messages"][3]["content"][1] == {"type": "image_url", "image_url": {"url": PNG_URL}}


def test_images_and_documents_become_parts() -> None:
    blocks = [
        {"type": "image", "source": PNG},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "document", "title": "a.pdf", "source": {**PNG, "media_type": "application/pdf", "data": "JVBE"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
        {"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "found"}]},
    ]
    assert request(user(blocks))["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": PNG_URL}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "text", "text": "plain"},
        {"type": "text", "text": "T (S)\n\nfound"},
    ]


def test_thinking_and_blocks_of_the_providers_tools_stay_out() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "So."},
    ]
    spoken = request(user("x"), {"role": "assistant", "content": blocks})["messages"]
    assert spoken[1] == {"role": "assistant", "content": "So."}


def test_tools_are_functions_and_those_of_the_provider_are_named() -> None:
    asked = {"model": "m", "max_tokens": 9, "messages": [user("x")]}
    asked["tools"] = [TOOL, {"type": "web_search_20250305", "name": "web_search"}]
    made = converter("messages", request=asked)
    assert made.headers() == [(b"x-gateway-dropped-tools", b"web_search_20250305")]
    function = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    assert made.convert_request(asked)["tools"] == [{"type": "function", "function": function}]


def test_a_long_name_of_a_tool_comes_back_as_it_was() -> None:
    name = "mcp__" + "server" * 12 + "__look"
    asked = {"model": "m", "max_tokens": 9, "messages": [user("x")], "tools": [{**TOOL, "name": name}]}
    made = converter("messages", request=asked)
    wire = made.convert_request(asked)["tools"][0]["function"]["name"]
    assert len(wire) == 64
    call = {"id": "a", "type": "function", "function": {"name": wire, "arguments": "{}"}}
    assert made.convert_response(chat_answer({"tool_calls": [call]}, "tool_calls"))["content"][0]["name"] == name


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "look"}, {"tool_choice": {"type": "function", "function": {"name": "look"}}}),
    ],
)
def test_the_choice_of_a_tool_is_mapped(choice: Json, expected: Json) -> None:
    chat = request(user("x"), tools=[TOOL], tool_choice=choice)
    assert {name: chat[name] for name in ("tool_choice", "parallel_tool_calls") if name in chat} == expected


def test_settings_are_mapped_and_unknown_ones_handed_on() -> None:
    fields = {
        "stop_sequences": ["END"],
        "temperature": 0.4,
        "top_p": 0.8,
        "top_k": 5,
        "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "high"},
        "context_management": {"edits": []},
        "repetition_penalty": 1.1,
        "stream": True,
    }
    chat = request(user("x"), **fields)
    assert {name: value for name, value in chat.items() if name not in ("model", "messages")} == {
        "max_tokens": 9,
        "stop": ["END"],
        "user": "u",
        "reasoning_effort": "high",
        "temperature": 0.4,
        "top_p": 0.8,
        "repetition_penalty": 1.1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": 5}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"messages": [user([{"type": "hologram"}])]}, "messages[0].content[0].type"),
        ({"messages": [user([{"text": "x"}])]}, "messages[0].content[0].type"),
        ({"messages": [user([{"type": "tool_result"}])]}, "messages[0].content[0].tool_use_id"),
        ({"messages": [user([{"type": "image", "source": {"type": "file"}}])]}, "messages[0].content[0].source"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tools": [TOOL], "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"metadata": "u"}, "metadata"),
        ({"system": 5}, "system"),
    ],
)
def test_what_chat_cannot_say_is_refused_with_the_field(body: Json, field: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        converted("messages", {"model": "m", "max_tokens": 1, "messages": [user("x")], **body})
    assert refusal.value.field == field


def test_a_whole_answer_has_its_blocks_reason_and_usage() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"q": 1}'}}
    answer = chat_answer({"content": "Text.", "reasoning_content": "Hm.", "tool_calls": [call]}, "tool_calls")
    message = converter("messages").convert_response(answer)
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "Text.", "citations": None},
        {"type": "tool_use", "id": "a", "name": "look", "input": {"q": 1}, "caller": {"type": "direct"}},
    ]
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "real")
    assert (message["stop_reason"], message["stop_sequence"]) == ("tool_use", None)
    assert {name: count for name, count in message["usage"].items() if count is not None} == {
        "input_tokens": 8,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 2},
    }


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("eos", "end_turn")],
)
def test_the_reason_to_stop_is_mapped(finish: str, reason: str) -> None:
    assert converter("messages").convert_response(chat_answer({"content": "x"}, finish))["stop_reason"] == reason


def test_a_refusal_is_text_that_stopped_by_refusing() -> None:
    message = converter("messages").convert_response(chat_answer({"content": None, "refusal": "No."}))
    assert (message["content"][0]["text"], message["stop_reason"]) == ("No.", "refusal")


def test_a_stop_sequence_is_named_where_the_provider_says_it() -> None:
    asked = {"model": "m", "max_tokens": 9, "messages": [user("x")], "stop_sequences": ["END"]}
    answer = chat_answer({"content": "x"})
    answer["choices"][0]["stop_reason"] = "END"
    message = converter("messages", request=asked).convert_response(answer)
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


def test_arguments_that_are_no_object_are_kept_for_the_tool_to_refuse() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"q": '}}
    message = converter("messages").convert_response(chat_answer({"tool_calls": [call]}, "tool_calls"))
    assert message["content"][0]["input"] == {"invalid_json": '{"q": '}


def test_the_events_of_a_stream_come_in_anthropics_order() -> None:
    stream = chat_stream(
        {"reasoning_content": "Hm."},
        {"content": "He"},
        {"content": "llo"},
        call_delta(0, "a", "look", '{"q"'),
        call_delta(0, None, None, ": 1}"),
        finish="tool_calls",
    )
    events = streamed(converter("messages"), stream)
    assert [(event["type"], event.get("index")) for event in events] == [
        ("message_start", None),
        ("ping", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"] == [
        "thinking_delta",
        "text_delta",
        "text_delta",
        "input_json_delta",
        "input_json_delta",
    ]
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"]["input_tokens"] == 8


def test_a_broken_stream_ends_with_an_error_event() -> None:
    made = converter("messages")
    made.feed(data(chunk({"content": "Half"})))
    with pytest.raises(CompletionError):
        made.finish()
    assert events_of(made.fail(Failure("overloaded", "It broke.", 529))) == [
        {"type": "error", "error": {"type": "overloaded_error", "message": "It broke."}}
    ]


def test_an_estimate_counts_every_kind_of_block() -> None:
    blocks = [
        {"type": "text", "text": "Grüße an alle."},
        {"type": "image", "source": PNG},
        use("a"),
        result("a", "x" * 360),
        {"type": "document", "source": {**PNG, "data": "x" * 250_000}},
    ]
    body = {"system": "Be kind.", "tools": [TOOL], "messages": [user(blocks)]}
    assert 1600 + 3 * 1600 + 100 < estimate_tokens(body) < 8000
    assert estimate_tokens({}) == 1
    assert estimate_tokens({"messages": [user("你好" * 100)]}) > estimate_tokens({"messages": [user("ab" * 100)]})
