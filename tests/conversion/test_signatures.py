"""Values that a provider must get back in the next turn go through every client dialect: in an id, a signature or a
store of the client's; where it is lost, the feature is left out of the turn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference_app.catalogue.limits import Limits
from inference_app.conversion import ClientDialect, RequestConverter
from inference_app.conversion.fit import SKIP_SIGNATURE
from inference_app.relay.envelope import Envelope
from inference_app.relay.passed_fit import fit_passed
from inference_app.relay.reasoning_filter import without_foreign_reasoning
from tests.conversion.building import Json, chat_answer, converted, converter, data, events_of, typed

EXTRA = {"google": {"thought_signature": "S+/x=="}}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": EXTRA}
TOOLS: dict[str, Any] = {
    "messages": [{"name": "f", "input_schema": {"type": "object"}}],
    "responses": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
    "chat": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
}
GEMINI = Limits(signatures="required")


def gemini_stream() -> bytes:
    choice = {"index": 0, "delta": {"tool_calls": [{**CALL, "index": 0}]}, "finish_reason": "tool_calls"}
    return data({"id": "c", "choices": [choice]}) + b"data: [DONE]\n\n"


def messages_turn(content: Any, result_of: str) -> Json:
    """Returns the next request of a Messages client."""
    answer = [{"type": "tool_result", "tool_use_id": result_of, "content": "y"}]
    spoken = [("user", "x"), ("assistant", content), ("user", answer)]
    messages = [{"role": role, "content": said} for role, said in spoken]
    return {"model": "m", "max_tokens": 2000, "tools": TOOLS["messages"], "messages": messages}


def responses_turn(output: list[Json]) -> Json:
    """Returns the next request of a Responses client."""
    called = next(item for item in output if item["type"] == "function_call")
    result = {"type": "function_call_output", "call_id": called["call_id"], "output": "y"}
    items = [{"role": "user", "content": "x"}, *output, result]
    return {"model": "m", "tools": TOOLS["responses"], "input": items}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("client", ["messages", "responses"])
def test_geminis_signature_comes_back_with_its_call(client: ClientDialect, streamed: bool) -> None:
    made = converter(client)
    if client == "messages":
        block: Json = {"type": "tool_use", "id": "", "name": "f", "input": {}}
        if streamed:
            events = events_of(made.feed(gemini_stream()) + made.finish())
            block["id"] = next(e["content_block"]["id"] for e in events if e["type"] == "content_block_start")
        else:
            answer = made.convert_response(chat_answer({"content": None, "tool_calls": [CALL]}, "tool_calls"))
            block["id"] = answer["content"][0]["id"]
        body = messages_turn([block], block["id"])
    else:
        if streamed:
            output = events_of(made.feed(gemini_stream()) + made.finish())[-1]["response"]["output"]
        else:
            answer = chat_answer({"content": None, "tool_calls": [CALL]}, "tool_calls")
            output = made.convert_response(answer)["output"]
        body = responses_turn(output)
    sent = RequestConverter(client, "openai-chat").convert_request(body, GEMINI)["messages"]
    assert sent[1]["tool_calls"] == [CALL]
    assert sent[2]["tool_call_id"] == "call_1"


def test_a_lost_signature_of_gemini_is_replaced_by_googles_own_mark() -> None:
    uses = [{"type": "tool_use", "id": f"toolu_{n}", "name": "f", "input": {}} for n in range(2)]
    results = [{"type": "tool_result", "tool_use_id": use["id"], "content": "y"} for use in uses]
    body = messages_turn(uses, "toolu_0")
    body["messages"][2]["content"] = results
    calls = RequestConverter("messages", "openai-chat").convert_request(body, GEMINI)["messages"][1]["tool_calls"]
    assert calls[0]["extra_content"] == {"google": {"thought_signature": SKIP_SIGNATURE}}
    assert "extra_content" not in calls[1]


def test_a_provider_that_knows_no_signatures_is_not_shown_them() -> None:
    block = converter("messages").convert_response(chat_answer({"tool_calls": [CALL]}, "tool_calls"))["content"][0]
    body = messages_turn([block], block["id"])
    sent = RequestConverter("messages", "openai-chat").convert_request(body, Limits(signatures=False))
    assert sent["messages"][1]["tool_calls"] == [{name: CALL[name] for name in ("id", "type", "function")}]
    assert converted("messages", body, "openai-responses")["input"][1]["call_id"] == "call_1"


def test_the_signature_of_a_text_comes_back_with_it() -> None:
    answer = converter("messages").convert_response(chat_answer({"content": "Hi", "extra_content": EXTRA}))
    messages = [("user", "x"), ("assistant", answer["content"]), ("user", "y")]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": role, "content": said} for role, said in messages]}
    assert converted("messages", body)["messages"][1]["extra_content"] == EXTRA


@pytest.mark.parametrize("streamed", [False, True])
def test_no_message_ends_with_thinking_behind_its_text(streamed: bool) -> None:
    """Claude Code takes the last block for the result: `claude -p` printed an empty line."""
    said: Json = {"content": "Hi", "extra_content": EXTRA}
    if streamed:
        made = converter("messages")
        chunks = [{"content": "Hi"}, {"extra_content": EXTRA}]
        sent = [data({"id": "c", "choices": [{"index": 0, "delta": delta}]}) for delta in chunks]
        ended = data({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        events = events_of(made.feed(b"".join([*sent, ended])) + made.finish())
        kinds = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
        assert kinds == ["text"]
        assert [event["type"] for event in events][-3:] == ["content_block_stop", "message_delta", "message_stop"]
    else:
        kinds = [block["type"] for block in converter("messages").convert_response(chat_answer(said))["content"]]
        assert kinds == ["redacted_thinking", "text"]


def test_the_signature_of_a_text_before_a_call_comes_before_the_call() -> None:
    made = converter("messages")
    deltas = [{"content": "Hi", "extra_content": EXTRA}, {"tool_calls": [{**CALL, "index": 0}]}]
    sent = [data({"id": "c", "choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
    ended = data({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    events = events_of(made.feed(b"".join([*sent, ended])) + made.finish())
    kinds = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert kinds == ["text", "redacted_thinking", "tool_use"]
    assert [event["index"] for event in events if event["type"] == "content_block_stop"] == [0, 1, 2]


@pytest.mark.parametrize("streamed", [False, True])
def test_openrouters_details_come_before_what_was_thought_for(streamed: bool) -> None:
    details = [{"type": "reasoning.text", "text": "Hm.", "index": 0}, {"type": "reasoning.text", "index": 0}]
    details[1]["signature"] = "c2ln"
    made = converter("messages")
    if streamed:
        deltas: list[Json] = [{"reasoning_details": [detail]} for detail in details]
        deltas += [{"content": "Hi"}, {"content": " there"}]
        sent = [data({"id": "c", "choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
        ended = data({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        events = events_of(made.feed(b"".join([*sent, ended])) + made.finish())
        kinds = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    else:
        answer = made.convert_response(chat_answer({"content": "Hi", "reasoning_details": details}))
        kinds = [block["type"] for block in answer["content"]]
    assert kinds == ["thinking", "redacted_thinking", "text"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_messages_client_gets_the_models_name_by_which_it_asked(streamed: bool) -> None:
    """Claude Code returns signed thinking only to the model that its message names."""
    made = converter("messages")
    made.request(json.dumps(messages_turn("Hi", "toolu_1")).encode(), None, "provider:m")
    if streamed:
        named = events_of(made.feed(gemini_stream()))[0]["message"]["model"]
    else:
        named = made.convert_response(chat_answer({"content": "Hi"}))["model"]
    assert named == "provider:m"
    other = converter("responses")
    other.request(json.dumps({"model": "m", "input": "Hi"}).encode(), None, "provider:m")
    assert other.convert_response(chat_answer({"content": "Hi"}))["model"] == "real"


def test_openrouters_details_come_back() -> None:
    details = [{"type": "reasoning.encrypted", "data": "x", "format": "google-gemini-v1", "index": 0}]
    message = {"content": "Hi", "reasoning_details": details}
    answer = converter("messages").convert_response(chat_answer(message))
    messages = [("user", "x"), ("assistant", answer["content"]), ("user", "y")]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": role, "content": said} for role, said in messages]}
    assert converted("messages", body)["messages"][1]["reasoning_details"] == details


THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
REDACTED = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
SIGNED = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [THINKING, REDACTED, USE],
    "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
WITH_THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def signed_stream() -> bytes:
    events: list[Json] = [{"type": "message_start", "message": {**SIGNED, "content": []}}]
    for index, block in enumerate(SIGNED["content"]):  # type: ignore[arg-type]
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}})
    return typed(*events, {"type": "message_stop"})


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("client", ["chat", "responses"])
def test_anthropics_signed_thinking_comes_back(client: ClientDialect, streamed: bool) -> None:
    made = converter(client, "anthropic")
    if client == "responses":
        if streamed:
            output = events_of(made.feed(signed_stream()) + made.finish())[-1]["response"]["output"]
        else:
            output = made.convert_response(SIGNED)["output"]
        body = responses_turn(output)
    else:
        events = events_of(made.feed(signed_stream()) + made.finish())
        if streamed:
            deltas = [choice["delta"] for event in events for choice in event.get("choices", ())]
            details = [detail for delta in deltas for detail in delta.get("reasoning_details", ())]
            message = {"role": "assistant", "content": None, "reasoning_details": details, "tool_calls": []}
            message["tool_calls"] = [{**CALL, "id": "toolu_1"}]
        else:
            message = converter(client, "anthropic").convert_response(SIGNED)["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": "toolu_1", "content": "y"}
        messages = [{"role": "user", "content": "x"}, message, result]
        body = {"model": "m", "tools": TOOLS["chat"], "messages": messages}
    sent = converted(client, {**body, **WITH_THINKING}, "anthropic", thinking=True)
    assert sent["messages"][1]["content"] == [THINKING, REDACTED, USE]
    assert sent["thinking"] == WITH_THINKING["thinking"]


def test_thinking_is_left_out_of_a_turn_that_has_lost_its_own() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "y"}
    asked = {"model": "m", "tools": TOOLS["chat"], "messages": [{"role": "user", "content": "x"}, message, result]}
    made = RequestConverter("chat", "anthropic")
    assert "thinking" not in made.convert_request({**asked, **WITH_THINKING})
    assert made.headers() == [(b"x-gateway-dropped", b"thinking")]


def test_so_it_is_where_the_request_passes_through() -> None:
    lost = {**messages_turn([USE], "toolu_1"), **WITH_THINKING}
    kept = {**messages_turn([THINKING, USE], "toolu_1"), **WITH_THINKING}
    for body, thinks in ((lost, False), (kept, True)):
        envelope = Envelope.open(json.dumps(body).encode())
        passed = without_foreign_reasoning(envelope, "anthropic")
        assert ("thinking" in passed.fields) is thinks
        assert (passed is envelope) is thinks


RESPONSE = {
    "id": "resp_1", "object": "response", "status": "completed", "model": "m", "created_at": 1, "usage": None,
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
    ],
}  # fmt: skip


def test_encrypted_reasoning_comes_back_to_its_provider() -> None:
    content = converter("messages", "openai-responses").convert_response(RESPONSE)["content"]
    body = messages_turn(content, "call_1")
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    assert converted("messages", body, "openai-responses")["input"][1] == sealed
    assert "gAAA" not in json.dumps(converted("messages", body))
    passed = without_foreign_reasoning(Envelope.open(json.dumps(body).encode()), "anthropic")
    assert b"redacted_thinking" not in passed.raw


def test_a_sealed_item_of_another_wire_does_not_pass_through() -> None:
    output = converter("responses", "anthropic").convert_response(SIGNED)["output"]
    body = responses_turn(output)
    passed = json.loads(without_foreign_reasoning(Envelope.open(json.dumps(body).encode()), "openai-responses").raw)
    assert [item.get("type") for item in passed["input"]] == [None, "function_call", "function_call_output"]


def passed_chat(limits: Limits, *, extra: bool, call_id: str = "call_1") -> Json:
    call = {name: value for name, value in CALL.items() if extra or name != "extra_content"} | {"id": call_id}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": '"id":"call_1"'},
    ]
    envelope = Envelope.open(json.dumps({"model": "m", "messages": messages}).encode())
    passed: Json = json.loads(fit_passed(envelope, "openai-chat", limits, None).raw)
    return passed


def test_a_passed_history_loses_or_gets_signatures_as_the_target_wants() -> None:
    assert "extra_content" not in passed_chat(Limits(signatures=False), extra=True)["messages"][0]["tool_calls"][0]
    marked = passed_chat(GEMINI, extra=False)["messages"][0]["tool_calls"][0]["extra_content"]
    assert marked == {"google": {"thought_signature": SKIP_SIGNATURE}}
    assert passed_chat(GEMINI, extra=True)["messages"][0]["tool_calls"][0]["extra_content"] == EXTRA
