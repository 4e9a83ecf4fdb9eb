"""Requests of the Responses API as chat completions."""

from __future__ import annotations

from typing import Any

import pytest

from core_app.errors import BadRequest
from inference_app.conversion import RequestConverter
from tests.conversion.building import Json, converted, converter

PNG = "data:image/png;base64,iVBORw0KGgo="


def messages(*items: Json, **fields: Any) -> list[Json]:
    answer: list[Json] = converted("responses", {"model": "m", "input": list(items), **fields})["messages"]
    return answer


def call(call_id: str, name: str = "look", **fields: Any) -> Json:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}", **fields}


def said(part: Json) -> Json:
    return {"role": "user", "content": [part]}


def output(call_id: str, said: Any = "ok") -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": said}


def test_a_string_is_the_users_message() -> None:
    assert converted("responses", {"model": "m", "input": "hi"}) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_instructions_come_first() -> None:
    assert messages({"role": "user", "content": "hi"}, instructions="Be kind.")[0] == {
        "role": "system",
        "content": "Be kind.",
    }


def test_developer_and_system_messages_stay_in_their_places() -> None:
    spoken = messages(
        {"role": "developer", "content": "rules"},
        {"role": "user", "content": "a"},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "more"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"role": "developer", "content": "last"},
    )
    assert [(m["role"], m["content"]) for m in spoken] == [
        ("system", "rules"),
        ("user", "a"),
        ("system", "more"),
        ("assistant", "b"),
        ("system", "last"),
    ]


def test_parallel_calls_join_the_assistants_message_and_outputs_follow_in_their_order() -> None:
    spoken = messages(
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
        call("a"),
        call("b"),
        output("b", "B"),
        output("a", "A"),
    )
    assert [call["id"] for call in spoken[1]["tool_calls"]] == ["a", "b"]
    assert spoken[1]["content"] == "Looking."
    assert [(m["tool_call_id"], m["content"]) for m in spoken[2:]] == [("b", "B"), ("a", "A")]


def test_calls_one_after_the_other_are_messages_of_their_own() -> None:
    spoken = messages({"role": "user", "content": "go"}, call("a"), output("a"), call("b"), output("b"))
    assert [m["role"] for m in spoken] == ["user", "assistant", "tool", "assistant", "tool"]


def test_words_between_a_call_and_its_output_come_after_the_output() -> None:
    spoken = messages(
        call("a"), {"role": "developer", "content": "hurry"}, output("a"), {"role": "user", "content": "?"}
    )
    assert [m["role"] for m in spoken] == ["assistant", "tool", "system", "user"]


def test_ids_that_repeat_in_a_conversation_find_their_own_outputs() -> None:
    spoken = messages(call("call_0"), output("call_0", "1"), call("call_0"), output("call_0", "2"))
    assert [m.get("content") for m in spoken] == [None, "1", None, "2"]


def test_reasoning_and_what_hosted_tools_did_stay_out() -> None:
    spoken = messages(
        {"role": "user", "content": "go"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "local_shell_call", "call_id": "s", "action": {}},
        {"type": "local_shell_call_output", "id": "s", "output": "{}"},
        call("a"),
        {"type": "reasoning", "id": "rs_2", "summary": []},
        call("b"),
        output("a", "x"),
        output("b", "y"),
    )
    assert len(spoken) == 4
    assert len(spoken[1]["tool_calls"]) == 2


def test_images_files_and_audio_become_parts() -> None:
    parts = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": PNG, "detail": "high"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]
    assert messages({"role": "user", "content": parts})[0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]


def test_several_texts_are_one_text() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert messages({"role": "user", "content": parts})[0]["content"] == "a\n\nb"


def test_an_image_that_a_tool_gave_back_is_shown_by_the_user_after_all_answers() -> None:
    spoken = messages(
        call("a"),
        call("b"),
        output("a", [{"type": "input_text", "text": "shot"}, {"type": "input_image", "image_url": PNG}]),
        output("b", "B"),
        {"role": "user", "content": "and?"},
    )
    assert [m["role"] for m in spoken] == ["assistant", "tool", "tool", "user", "user"]
    assert spoken[1]["content"] == "shot"
    assert spoken[3]["content"][1] == {"type": "image_url", "image_url": {"url": PNG}}
    assert spoken[4]["content"] == "and?"


def test_an_assistants_refusal_is_kept() -> None:
    item = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert messages(item)[0] == {"role": "assistant", "content": None, "refusal": "No."}


def test_function_tools_are_nested_and_without_parameters_get_an_empty_schema() -> None:
    tool = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    chat = converted("responses", {"model": "m", "input": "x", "tools": [tool, {"type": "function", "name": "g"}]})
    assert [tool["function"] for tool in chat["tools"]] == [
        {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        {"name": "g", "parameters": {"type": "object", "properties": {}}},
    ]


NAMESPACE = {
    "type": "namespace",
    "name": "crm",
    "description": "Customers.",
    "tools": [
        {"type": "function", "name": "find", "description": "Finds.", "parameters": {"type": "object"}},
        {"type": "custom", "name": "note"},
    ],
}


def test_namespaces_are_flattened_and_their_description_is_said_once() -> None:
    chat = converted("responses", {"model": "m", "input": "x", "tools": [NAMESPACE]})
    functions = [tool["function"] for tool in chat["tools"]]
    assert [function["name"] for function in functions] == ["crm__find", "crm__note"]
    assert functions[0]["description"] == "Customers.\n\nFinds."
    assert "Customers" not in functions[1]["description"]


def test_a_call_of_a_namespace_in_the_history_has_the_flattened_name() -> None:
    items = (call("a", "find", namespace="crm"), output("a", "x"))
    assert messages(*items, tools=[NAMESPACE])[0]["tool_calls"][0]["function"]["name"] == ("crm__find")


def test_a_free_form_tool_is_a_function_with_one_string() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
    tool = {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": grammar}
    chat = converted("responses", {"model": "m", "input": "x", "tools": [tool]})
    function = chat["tools"][0]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "start: /x/" in function["description"]
    spoken = messages(
        {"type": "custom_tool_call", "call_id": "a", "name": "apply_patch", "input": 'a "b"\n'},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "done"},
        tools=[tool],
    )
    assert spoken[0]["tool_calls"][0]["function"] == {"name": "apply_patch", "arguments": '{"input":"a \\"b\\"\\n"}'}
    assert spoken[1] == {"role": "tool", "tool_call_id": "a", "content": "done"}


def test_hosted_tools_are_left_out_and_named() -> None:
    tools = [
        {"type": "web_search"},
        {"type": "mcp", "server_label": "wiki", "server_url": "https://x"},
        {"type": "function", "name": "f"},
        {"type": "web_search"},
    ]
    made = converter("responses", request={"model": "m", "input": "x", "tools": tools})
    assert made.headers() == [(b"x-gateway-dropped-tools", b"web_search, mcp:wiki")]
    chat = made.convert_request({"model": "m", "input": "x", "tools": tools})
    assert [tool["function"]["name"] for tool in chat["tools"]] == ["f"]


def test_a_request_left_without_tools_says_nothing_of_them() -> None:
    body = {"model": "m", "input": "x", "tools": [{"type": "web_search"}], "tool_choice": "auto"}
    chat = converted("responses", {**body, "parallel_tool_calls": True})
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(chat)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "custom", "name": "p"}, {"type": "function", "function": {"name": "p"}}),
        ({"type": "web_search_preview"}, None),
    ],
)
def test_the_choice_of_a_tool_is_mapped(choice: Any, expected: Any) -> None:
    tools = [{"type": "function", "name": "f"}, {"type": "custom", "name": "p"}]
    body = {"model": "m", "input": "x", "tools": tools, "tool_choice": choice}
    assert converted("responses", body).get("tool_choice") == expected


def test_only_the_allowed_tools_are_shown() -> None:
    tools = [{"type": "function", "name": name} for name in "abc"]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    chat = converted("responses", {"model": "m", "input": "x", "tools": tools, "tool_choice": choice})
    assert [tool["function"]["name"] for tool in chat["tools"]] == ["b"]
    assert chat["tool_choice"] == "required"


def test_settings_are_mapped_and_unknown_ones_handed_on() -> None:
    body = {
        "model": "m",
        "input": "x",
        "max_output_tokens": 50,
        "reasoning": {"effort": "high", "summary": "auto"},
        "temperature": 0.5,
        "top_p": 0.9,
        "metadata": {"a": "b"},
        "user": "u",
        "store": False,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}, "verbosity": "low"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "top_logprobs": 2,
        "truncation": "auto",
        "client_metadata": {"x": "y"},
        "repetition_penalty": 1.1,
        "stream": True,
    }
    assert converted("responses", body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 50,
        "reasoning_effort": "high",
        "temperature": 0.5,
        "top_p": 0.9,
        "metadata": {"a": "b"},
        "user": "u",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}},
        "verbosity": "low",
        "logprobs": True,
        "top_logprobs": 2,
        "repetition_penalty": 1.1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("deepseek-chat", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
        ("gpt-5.1", "max_completion_tokens"),
        ("openai/o4-mini", "max_completion_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_model_takes(model: str, name: str) -> None:
    assert converted("responses", {"model": model, "input": "x", "max_output_tokens": 5})[name] == 5


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": 5}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "hologram"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "function_call", "call_id": "a", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input[0].type"),
        ({"input": [said({"type": "input_image", "file_id": "f"})]}, "input[0].content[0].file_id"),
        ({"input": [said({"type": "input_file", "file_url": "u"})]}, "input[0].content[0]"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tools": [{"name": "f"}]}, "tools[0].type"),
        ({"input": "x", "tools": {}}, "tools"),
        ({"input": "x", "text": "json"}, "text"),
        ({"input": "x", "conversation": "conv_1"}, "conversation"),
    ],
)  # fmt: skip
def test_what_chat_cannot_say_is_refused_with_the_field(body: Json, field: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        converted("responses", {"model": "m", **body})
    assert refusal.value.field == field


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(BadRequest):
        RequestConverter("responses", "openai-chat").request(b"[]")


def test_tools_that_the_input_brings_along_are_declared() -> None:
    items = [
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "late"}]},
        {"role": "user", "content": "x"},
    ]
    chat = converted("responses", {"model": "m", "input": items})
    assert [tool["function"]["name"] for tool in chat["tools"]] == ["late"]
    assert len(chat["messages"]) == 1
