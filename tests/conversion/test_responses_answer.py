"""Answers of chat as responses: whole, and as events in the official order."""

from __future__ import annotations

from typing import Any

import pytest

from inference_app.conversion import CompletionError, Failure
from tests.conversion.building import (
    CHAT_USAGE,
    Json,
    call_delta,
    chat_answer,
    chat_stream,
    chunk,
    converter,
    data,
    events_of,
    streamed,
)

TOOLS: list[Json] = [
    {"type": "function", "name": "look"},
    {"type": "namespace", "name": "crm", "description": "d", "tools": [{"type": "function", "name": "find"}]},
    {"type": "custom", "name": "apply_patch"},
]
ASKING: Json = {"model": "m", "input": "hi", "tools": TOOLS}


def types(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_the_events_of_a_text_come_in_the_official_order() -> None:
    events = streamed(converter("responses"), chat_stream({"role": "assistant"}, {"content": "He"}, {"content": "llo"}))
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert events[6]["text"] == "Hello"
    assert events[-1]["response"]["output"][0]["content"][0] == {
        "type": "output_text",
        "text": "Hello",
        "annotations": [],
        "logprobs": [],
    }


def test_reasoning_text_and_calls_are_items_one_after_the_other() -> None:
    stream = chat_stream(
        {"reasoning": "Hm."},
        {"content": "Text."},
        call_delta(0, "a", "look", '{"q"'),
        call_delta(0, None, None, ": 1}"),
        call_delta(1, "b", "crm__find", "{}"),
        finish="tool_calls",
    )
    events = streamed(converter("responses", request=ASKING), stream)
    assert types(events)[2:] == [
        *["output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"],
        *["reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"],
        *["output_item.added", "content_part.added", "output_text.delta"],
        *["output_text.done", "content_part.done", "output_item.done"],
        *["output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"],
        *["function_call_arguments.done", "output_item.done"],
        *["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"],
        "completed",
    ]
    added = [event for event in events if event["type"].endswith("item.added")]
    assert [event["output_index"] for event in added] == [0, 1, 2, 3]
    output = events[-1]["response"]["output"]
    assert [(item["name"], item.get("namespace")) for item in output[2:]] == [("look", None), ("find", "crm")]
    assert output[2]["arguments"] == '{"q": 1}'
    for event in events:
        if "item_id" in event:
            assert event["item_id"] == output[event["output_index"]]["id"]


def test_a_free_form_call_comes_back_as_one() -> None:
    stream = chat_stream(
        call_delta(0, "a", "apply_patch", '{"input": "*** Be'), call_delta(0, None, None, 'gin\\n"}'), finish="stop"
    )
    events = streamed(converter("responses", request=ASKING), stream)
    assert types(events)[2:-1] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    item = events[-1]["response"]["output"][0]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "apply_patch", "*** Begin\n")


@pytest.mark.parametrize("written", ["plain words", '"quoted"', '{"other": 1}', "[1]"])
def test_a_model_that_forgets_the_json_around_a_free_form_input_is_understood(written: str) -> None:
    events = streamed(converter("responses", request=ASKING), chat_stream(call_delta(0, "a", "apply_patch", written)))
    expected = "quoted" if written == '"quoted"' else written
    assert events[-1]["response"]["output"][0]["input"] == expected


def test_pieces_of_parallel_calls_that_are_mixed_lose_nothing() -> None:
    stream = chat_stream(
        call_delta(0, "a", "look", '{"n":'),
        call_delta(1, "b", "look", '{"n":'),
        call_delta(0, None, None, " 0}"),
        call_delta(1, None, None, " 1}"),
        finish="tool_calls",
    )
    output = streamed(converter("responses", request=ASKING), stream)[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [("a", '{"n": 0}'), ("b", '{"n": 1}')]


def test_calls_under_one_index_with_ids_of_their_own_are_told_apart() -> None:
    stream = chat_stream(call_delta(0, "a", "look", "{}"), call_delta(0, "b", "look", '{"n": 1}'), finish="stop")
    output = streamed(converter("responses", request=ASKING), stream)[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"]) for item in output] == [("a", "{}"), ("b", '{"n": 1}')]


def test_ids_that_repeat_or_are_missing_become_unique() -> None:
    stream = chat_stream(
        call_delta(0, "x", "look", "{}"), call_delta(1, "x", "look", "{}"), call_delta(2, None, "look", "")
    )
    output = streamed(converter("responses", request=ASKING), stream)[-1]["response"]["output"]
    ids = [item["call_id"] for item in output]
    assert ids[0] == "x"
    assert len(set(ids)) == 3
    assert output[2]["arguments"] == "{}"


def test_text_in_the_middle_of_a_call_comes_after_it() -> None:
    stream = chat_stream(
        call_delta(0, "a", "look", '{"n":'), {"content": "So."}, call_delta(0, None, None, " 1}"), finish="tool_calls"
    )
    output = streamed(converter("responses", request=ASKING), stream)[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["function_call", "message"]
    assert output[0]["arguments"] == '{"n": 1}'


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_short_is_incomplete(finish: str, reason: str) -> None:
    events = streamed(converter("responses"), chat_stream({"content": "Half an"}, finish=finish))
    assert events[-1]["type"] == "response.incomplete"
    response = events[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert response["output"][0]["status"] == "incomplete"
    whole = converter("responses").convert_response(chat_answer({"content": "Half an"}, finish))
    assert whole["status"] == "incomplete"


def test_a_call_that_was_cut_short_is_incomplete() -> None:
    stream = chat_stream(call_delta(0, "a", "look", '{"n":'), finish="length")
    response = streamed(converter("responses", request=ASKING), stream)[-1]["response"]
    assert (response["status"], response["output"][0]["status"]) == ("incomplete", "incomplete")


def test_a_refusal_is_a_part_with_events_of_its_own() -> None:
    events = streamed(converter("responses"), chat_stream({"refusal": "I w"}, {"refusal": "on't."}))
    assert types(events)[3:8] == [
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
    ]
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "I won't."}]


def test_usage_has_cached_and_reasoning_tokens() -> None:
    made = converter("responses")
    response = streamed(made, chat_stream({"content": "x"}))[-1]["response"]
    assert response["usage"] == {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 18,
    }
    assert made.usage is not None
    assert made.usage.cached_tokens == 3


def test_a_provider_that_counts_nothing_leaves_the_usage_empty() -> None:
    assert streamed(converter("responses"), chat_stream({"content": "x"}, usage=None))[-1]["response"]["usage"] is None


def test_deepseeks_words_for_cached_tokens_are_understood() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "prompt_cache_hit_tokens": 5}
    response = streamed(converter("responses"), chat_stream({"content": "x"}, usage=usage))[-1]["response"]
    assert response["usage"]["input_tokens_details"] == {"cached_tokens": 5, "cache_write_tokens": 0}


def test_the_response_says_back_what_was_asked() -> None:
    asked = {**ASKING, "instructions": "I", "temperature": 0.3, "metadata": {"a": "b"}, "text": {"verbosity": "low"}}
    response = converter("responses", request=asked).convert_response(chat_answer({"content": "x"}))
    assert response["tools"] == [{**TOOLS[0], "strict": True}, *TOOLS[1:]]
    assert (response["presence_penalty"], response["frequency_penalty"]) == (0, 0)
    assert (response["instructions"], response["temperature"], response["metadata"]) == ("I", 0.3, {"a": "b"})
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert (response["model"], response["store"], response["object"]) == ("real", False, "response")


def test_log_probabilities_are_handed_on() -> None:
    noted = {"token": "x", "logprob": -0.1, "bytes": [120], "top_logprobs": []}
    answer = chat_answer({"content": "x"})
    answer["choices"][0]["logprobs"] = {"content": [noted]}
    part = converter("responses").convert_response(answer)["output"][0]["content"][0]
    assert part["logprobs"] == [noted]


BROKEN: dict[str, tuple[bytes, str]] = {
    "cut": (chat_stream({"content": "Half"}, finish=None, usage=None).removesuffix(b"data: [DONE]\n\n"), "stream_cut"),
    "done without a reason": (chat_stream({"content": "Half"}, finish=None, usage=None), "stream_cut"),
    "nothing": (b"", "stream_cut"),
    "garbage": (data(chunk({"content": "Half"})) + b"data: <html>\n\n", "malformed_answer"),
    "no object": (b"data: 5\n\n", "malformed_answer"),
    "another shape": (b'data: {"choices": [{"delta": {"tool_calls": [5]}}]}\n\n', "malformed_answer"),
    "error": (data({"error": {"message": "SECRET", "code": "overloaded"}}), "overloaded"),
    "error without a code": (data({"error": "SECRET words"}), "provider_error"),
    "a reason that is a failure": (chat_stream({"content": "x"}, finish="error"), "error"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_stream_that_breaks_fails_and_never_completes(case: str) -> None:
    stream, code = BROKEN[case]
    made = converter("responses")
    said = made.feed(stream)
    with pytest.raises(CompletionError) as failure:
        made.finish()
    assert failure.value.failure.code == code
    events = events_of(made.fail(Failure("PROVIDER_ERROR", "plain: " + code)))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["status"] == "failed"
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "plain: " + code}
    assert b"SECRET" not in said
    assert made.fail(Failure("x", "x")) == b""


def test_what_came_before_a_failure_is_handed_out_first() -> None:
    made = converter("responses")
    events = events_of(made.feed(data(chunk({"content": "Half"})) + data({"error": {"code": "overloaded"}})))
    assert types(events)[-1] == "output_text.delta"
    with pytest.raises(CompletionError):
        made.feed(b"")
    ended = events_of(made.fail(Failure("x", "It broke.")))
    assert types(ended) == ["output_text.done", "content_part.done", "output_item.done", "failed"]
    assert ended[-1]["response"]["output"][0]["content"][0]["text"] == "Half"


@pytest.mark.parametrize(
    "body",
    [{}, {"choices": []}, {"choices": [5]}, {"error": {"code": "x"}}, {"choices": [{"message": 5}]}, {"choices": "x"}],
)
def test_a_whole_answer_that_is_none_fails(body: Any) -> None:
    for client in ("responses", "messages"):
        with pytest.raises(CompletionError):
            converter(client).convert_response(body)


def test_a_whole_answer_without_a_reason_is_complete() -> None:
    answer = chat_answer({"content": "x"})
    del answer["choices"][0]["finish_reason"]
    assert converter("responses").convert_response(answer)["status"] == "completed"


def test_an_empty_answer_of_a_model_is_complete_and_empty() -> None:
    response = streamed(converter("responses"), chat_stream({"content": ""}, usage=CHAT_USAGE))[-1]["response"]
    assert (response["status"], response["output"]) == ("completed", [])


def test_lone_surrogates_and_nul_are_cleaned() -> None:
    stream = data(chunk({"content": "a\ud800b\x00"})) + chat_stream()
    text = streamed(converter("responses"), stream)[-1]["response"]["output"][0]["content"][0]["text"]
    assert text == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
