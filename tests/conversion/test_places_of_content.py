"""Content counts wherever a provider puts it, and what it says about its end is held against what it made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference_app.catalogue.config import Wire
from inference_app.conversion import ClientDialect, CompletionError, RequestConverter
from tests.conversion.building import Json, call_delta, chat_answer, chunk, converter, data, events_of, streamed, typed

CLIENTS: list[ClientDialect] = ["messages", "responses"]
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def answered(client: ClientDialect, wire: Wire, body: Json) -> Json:
    answer: Json = json.loads(converter(client, wire).answer(json.dumps(body).encode()))
    return answer


def said(client: ClientDialect, answer: Json) -> tuple[str, int]:
    """Returns the text of an answer and the number of its calls."""
    if client == "messages":
        blocks = answer["content"]
        return "".join(b.get("text", "") for b in blocks), sum(b["type"] == "tool_use" for b in blocks)
    items = answer["output"]
    texts = [part["text"] for item in items if item["type"] == "message" for part in item["content"]]
    return "".join(texts), sum(item["type"] == "function_call" for item in items)


def two_choices() -> Json:
    first = {"index": 0, "message": {"role": "assistant", "content": "I look."}, "finish_reason": "tool_calls"}
    second = {"index": 1, "message": {"role": "assistant", "tool_calls": [CALL]}, "finish_reason": "tool_calls"}
    return {"id": "c", "choices": [first, second]}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_call_in_a_second_choice_counts(client: ClientDialect) -> None:
    answer = answered(client, "openai-chat", two_choices())
    assert said(client, answer) == ("I look.", 1)
    if client == "messages":
        assert answer["stop_reason"] == "tool_use"


def test_a_second_choice_that_was_wanted_is_not_mixed_in() -> None:
    made = RequestConverter("messages", "openai-chat")
    made.convert_request({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "n": 2})
    assert said("messages", made.convert_response(two_choices())) == ("I look.", 0)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("inner", ["t", [{"type": "text", "text": "t"}]])
def test_mistrals_thinking_parts_are_reasoning(client: ClientDialect, inner: Any) -> None:
    content = [{"type": "thinking", "thinking": inner}, {"type": "text", "text": "Hi"}]
    answer = answered(client, "openai-chat", chat_answer({"content": content}))
    if client == "messages":
        assert [block["type"] for block in answer["content"]] == ["thinking", "text"]
        assert answer["content"][0]["thinking"] == "t"
    else:
        assert [item["type"] for item in answer["output"]] == ["reasoning", "message"]
        assert answer["output"][0]["summary"][0]["text"] == "t"


@pytest.mark.parametrize(
    "message",
    [{"reasoning": "t"}, {"reasoning_content": "t"}, {"thinking": "t"},
     {"reasoning_details": [{"type": "reasoning.text", "text": "t"}]},
     {"reasoning_details": [{"type": "reasoning.summary", "summary": "t"}]}],
)  # fmt: skip
def test_reasoning_is_found_in_every_field_in_use(message: Json) -> None:
    answer = answered("messages", "openai-chat", chat_answer({"content": "Hi", **message}))
    assert answer["content"][0]["thinking"] == "t"


@pytest.mark.parametrize(
    "content",
    [[{"type": "text", "text": "Hi"}], {"type": "text", "text": "Hi"}, ["Hi"], [{"type": "output_text", "text": "Hi"}]],
)
def test_text_is_found_in_every_shape(content: Any) -> None:
    assert said("messages", answered("messages", "openai-chat", chat_answer({"content": content}))) == ("Hi", 0)


def test_the_older_function_call_is_a_call() -> None:
    message = {"content": None, "function_call": {"name": "f", "arguments": "{}"}}
    answer = answered("messages", "openai-chat", chat_answer(message, "function_call"))
    assert (said("messages", answer), answer["stop_reason"]) == (("", 1), "tool_use")


@pytest.mark.parametrize("client", ["chat", "messages"])
def test_an_answer_that_cannot_be_expressed_is_no_empty_one(client: ClientDialect) -> None:
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "QUJD"}
    body = {"id": "r", "status": "completed", "output": [image]}
    with pytest.raises(CompletionError) as failure:
        converter(client, "openai-responses").convert_response(body)
    assert failure.value.failure.code == "unreadable_answer"


ITEMS: list[Json] = [
    {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
     "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
]  # fmt: skip


@pytest.mark.parametrize("place", ["done", "completed"])
@pytest.mark.parametrize("client", ["chat", "messages"])
def test_items_that_come_whole_count(client: ClientDialect, place: str) -> None:
    events: list[Json] = [{"type": "response.created", "response": {"id": "r", "status": "in_progress"}}]
    if place == "done":
        events += [
            {"type": "response.output_item.done", "output_index": n, "item": item} for n, item in enumerate(ITEMS)
        ]
    response = {"id": "r", "status": "completed", "output": ITEMS if place == "completed" else []}
    stream = typed(*events, {"type": "response.completed", "response": response})
    text = json.dumps(streamed(converter(client, "openai-responses"), stream))
    assert "Hi" in text
    assert text.count("call_1") == 1
    assert text.count('{\\"a\\":1}') == 1


@pytest.mark.parametrize("client", ["chat", "messages"])
def test_deltas_go_to_the_item_of_their_index(client: ClientDialect) -> None:
    at = "response.function_call_arguments.delta"
    events: list[Json] = [{"type": "response.created", "response": {"id": "r", "status": "in_progress"}}]
    for n in range(2):
        item = {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": "f", "arguments": ""}
        events.append({"type": "response.output_item.added", "output_index": n, "item": item})
    for n, piece in ((0, '{"a":'), (1, '{"b":'), (0, "1}"), (1, "2}")):
        events.append({"type": at, "output_index": n, "delta": piece})
    for n, whole in enumerate(('{"a":1}', '{"b":2}')):
        item = {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": "f", "arguments": whole}
        events.append({"type": "response.output_item.done", "output_index": n, "item": item})
    events.append({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}})
    made = converter(client, "openai-responses")
    pieces: dict[int, str] = {}
    for event in streamed(made, typed(*events)):
        if client == "messages" and event.get("delta", {}).get("type") == "input_json_delta":
            pieces[event["index"]] = pieces.get(event["index"], "") + event["delta"]["partial_json"]
        for choice in event.get("choices", ()):
            for call in choice["delta"].get("tool_calls", ()):
                pieces[call["index"]] = pieces.get(call["index"], "") + call["function"]["arguments"]
    assert pieces == {0: '{"a":1}', 1: '{"b":2}'}


def test_a_reason_of_calls_without_a_call_is_none() -> None:
    answer = answered("messages", "openai-chat", chat_answer({"content": "hi"}, "tool_calls"))
    assert answer["stop_reason"] == "end_turn"
    body = {"type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "tool_use"}
    assert answered("chat", "anthropic", body)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("wire", ["anthropic", "openai-chat"])
def test_a_call_cut_by_the_limit_is_incomplete(wire: Wire) -> None:
    if wire == "openai-chat":
        deltas = [chunk(call_delta(0, "call_1", "f", '{"a":')), chunk({}, "length")]
        stream = b"".join(map(data, deltas)) + b"data: [DONE]\n\n"
    else:
        use = {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}
        stream = typed(
            {"type": "message_start", "message": {"id": "m", "usage": {}}},
            {"type": "content_block_start", "index": 0, "content_block": use},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {}},
            {"type": "message_stop"},
        )
    last = streamed(converter("responses", wire), stream)[-1]["response"]
    assert (last["status"], last["output"][0]["status"]) == ("incomplete", "incomplete")


@pytest.mark.parametrize("empty", [b"data:\n\n", b"data: \n\n", b"data:\ndata:\n\n", b": x\n\n"])
def test_events_without_data_are_passed_over(empty: bytes) -> None:
    pieces = [
        data(chunk({"content": "a"})),
        data(chunk({"content": "b"})),
        data(chunk({}, "stop")),
        b"data: [DONE]\n\n",
    ]
    events = events_of(b"".join(converter_output(empty.join(pieces))))
    assert "".join(event["delta"].get("text", "") for event in events if "index" in event and "delta" in event) == "ab"


def converter_output(stream: bytes) -> list[bytes]:
    made = converter("messages")
    return [made.feed(stream), made.finish()]


EXACT = '{"id":18446744073709551615,"n":1.50,"e":1e2,"s":"\\ud83d\\ude00\\u0000\\u00e9"}'


def test_arguments_keep_their_digits_and_characters_in_a_whole_answer() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": EXACT}}
    body = json.dumps(chat_answer({"content": None, "tool_calls": [call]}, "tool_calls")).encode()
    assert b'"input":%b' % EXACT.encode() in converter("messages").answer(body)
    raw = b'{"type":"message","content":[{"type":"tool_use","id":"a","name":"f","input":%b}],"stop_reason":"tool_use"}'
    answer = json.loads(converter("chat", "anthropic").answer(raw % EXACT.encode()))
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == EXACT


def test_arguments_keep_their_digits_and_characters_in_a_history() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": EXACT}}
    spoken = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    spoken.append({"role": "tool", "tool_call_id": "call_1", "content": "y"})
    sent = RequestConverter("chat", "anthropic").request(json.dumps({"model": "m", "messages": spoken}).encode())
    assert b'"input":%b' % EXACT.encode() in sent
    use = b'{"type":"tool_use","id":"a","name":"f","input":%b}' % EXACT.encode()
    raw = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[%b]}]}'
    for wire in ("openai-chat", "openai-responses"):
        sent = RequestConverter("messages", wire).request(raw % use)
        assert json.dumps(EXACT).encode() in sent


PAGE = {"url": "https://e.example/", "title": "T", "start_index": 3, "end_index": 5}


def test_citations_have_their_places_on_both_sides() -> None:
    annotation = {"type": "url_citation", "url_citation": PAGE}
    answer = answered("responses", "openai-chat", chat_answer({"content": "Hi you", "annotations": [annotation]}))
    assert answer["output"][0]["content"][0]["annotations"] == [{"type": "url_citation", **PAGE}]
    parts = [
        {"type": "output_text", "text": "Abc", "annotations": []},
        {"type": "output_text", "text": "Hi you", "annotations": [{"type": "url_citation", **PAGE}]},
    ]
    item = {"type": "message", "id": "m", "role": "assistant", "content": parts}
    response = {"id": "r", "status": "completed", "output": [item]}
    message = answered("chat", "openai-responses", response)["choices"][0]["message"]
    moved = {**PAGE, "start_index": 6, "end_index": 8}
    assert message["annotations"] == [{"type": "url_citation", "url_citation": moved}]
    block = answered("messages", "openai-responses", response)["content"][0]
    assert (block["citations"][0]["url"], block["citations"][0]["cited_text"]) == (PAGE["url"], "yo")


def test_anthropics_citations_cover_their_block() -> None:
    cited = {"type": "web_search_result_location", "url": "https://e/", "title": "T", "cited_text": "c"}
    blocks = [{"type": "text", "text": "Abc"}, {"type": "text", "text": "Hi", "citations": [cited]}]
    body = {"type": "message", "content": blocks, "stop_reason": "end_turn"}
    page = {"url": "https://e/", "title": "T", "start_index": 3, "end_index": 5}
    message = answered("chat", "anthropic", body)["choices"][0]["message"]
    assert message["annotations"] == [{"type": "url_citation", "url_citation": page}]
    part = answered("responses", "anthropic", body)["output"][0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **page}]


def test_log_probabilities_of_an_empty_text_are_kept() -> None:
    noted = {"token": "", "logprob": -0.1, "bytes": [], "top_logprobs": []}
    event = chunk({"content": ""})
    event["choices"][0]["logprobs"] = {"content": [noted]}
    stream = data(event) + data(chunk({"content": "a"})) + data(chunk({}, "stop")) + b"data: [DONE]\n\n"
    last = streamed(converter("responses"), stream)[-1]["response"]
    assert last["output"][0]["content"][0]["logprobs"] == [noted]
