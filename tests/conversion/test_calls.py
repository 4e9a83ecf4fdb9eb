"""Tool calls as providers of chat really stream them: without indexes, with ids or names that come late, come again
or are the same in every turn."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversion.building import Json, chat_answer, chat_stream, converted, converter, streamed

HISTORY: Json = {
    "model": "m",
    "max_tokens": 9,
    "messages": [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_0", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_0", "content": "Nothing."}]},
    ],
}


def piece(name: str | None, arguments: str, call_id: str | None = None, **more: Any) -> Json:
    function = {"arguments": arguments, **({"name": name} if name is not None else {})}
    return {"tool_calls": [{"function": function, **({} if call_id is None else {"id": call_id}), **more}]}


def called(*deltas: Json) -> list[tuple[str, str]]:
    """Names and arguments of the calls that a client of the Responses API gets."""
    response = streamed(converter("responses"), chat_stream(*deltas, finish="tool_calls"))[-1]["response"]
    items = [item for item in response["output"] if item["type"] == "function_call"]
    assert len({item["call_id"] for item in items}) == len(items)
    return [(item["name"], item["arguments"]) for item in items]


TWO = [("look", '{"n":1}'), ("find", "{}")]
SAME = [("look", '{"n":1}'), ("look", '{"n":2}')]
ONE = [("look", '{"n":1}')]
STREAMS = {
    "without index": ([piece("look", '{"n":1}', "a"), piece("find", "{}", "b")], TWO),
    "without index and id": ([piece("look", '{"n":1}'), piece("find", "{}")], TWO),
    "with an empty id": ([piece("look", '{"n":1}', "", index=0), piece("find", "{}", "", index=0)], TWO),
    "null for an index": ([piece("look", '{"n":1}', index=None), piece("find", "{}", index=None)], TWO),
    "an index in the first piece alone": (
        [piece("find", "{}", "a", index=0), piece("look", '{"n":', "b", index=1), piece(None, "1}")],
        TWO[::-1],
    ),
    "one tool twice": ([piece("look", '{"n":1}'), piece("look", '{"n":2}')], SAME),
    "one tool and one id twice": (
        [piece("look", '{"n":1}', "a", index=0), piece("look", '{"n":2}', "a", index=0)],
        SAME,
    ),
    "the first without arguments": ([piece("find", ""), piece("look", '{"n":1}')], TWO[::-1]),
    "an id that comes late": (
        [piece("look", "", index=0), piece("look", '{"n":', "a", index=0), piece(None, "1}", index=0)],
        ONE,
    ),
    "a name that comes late": (
        [piece(None, "", "a", index=0), piece("look", '{"n":', index=0), piece(None, "1}", index=0)],
        ONE,
    ),
    "arguments before the name": ([piece(None, '{"n":', "a", index=0), piece("look", "1}", index=0)], ONE),
    "a name in every piece": (
        [piece("look", '{"n":', "a", index=0), piece("look", "1}", "a", index=0), piece("look", "", "a", index=0)],
        ONE,
    ),
    "a name in every piece without id": ([piece("look", '{"n":'), piece("look", "1}"), piece("look", "")], ONE),
    "an object within the arguments": (
        [piece("look", '{"n":'), piece("look", '{"a":1}'), piece("look", "}")],
        [("look", '{"n":{"a":1}}')],
    ),
}


@pytest.mark.parametrize("case", STREAMS)
def test_calls_are_told_apart_and_pieces_found_together(case: str) -> None:
    deltas, expected = STREAMS[case]
    assert called(*deltas) == expected


def test_an_id_that_the_conversation_has_already_becomes_a_new_one() -> None:
    answer = chat_answer(
        {"tool_calls": [{"id": "call_0", "function": {"name": "look", "arguments": "{}"}}]}, "tool_calls"
    )
    first = converter("messages").convert_response(answer)["content"][0]["id"]
    second = converter("messages", request=HISTORY).convert_response(answer)["content"][0]["id"]
    assert first == "call_0"
    assert second != "call_0"


@pytest.mark.parametrize("call_id", ["functions.look:0", "call|fc 1", "é"])
def test_an_id_with_characters_that_anthropic_refuses_is_rewritten_for_call_and_answer_alike(call_id: str) -> None:
    called = {"id": call_id, "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": call_id, "content": "Nothing."},
    ]
    turns = converted("chat", {"model": "m", "messages": messages}, "anthropic")["messages"]
    use, result = turns[1]["content"][0]["id"], turns[2]["content"][0]["tool_use_id"]
    assert use == result
    assert use.replace("_", "").replace("-", "").isalnum()
    assert use.isascii()


def test_how_many_log_probabilities_is_said_only_to_whom_they_are_asked_of() -> None:
    asked: Json = {"model": "m", "input": "hi", "top_logprobs": 2}
    assert "top_logprobs" not in converted("responses", asked)
    wanted = converted("responses", {**asked, "include": ["message.output_text.logprobs"]})
    assert (wanted["logprobs"], wanted["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize("kind", ["advisor_tool_result", "mcp_tool_listing", "fallback"])
def test_what_the_providers_own_machinery_left_in_the_history_stays_out(kind: str) -> None:
    said = [{"type": kind}, {"type": "text", "text": "So."}]
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
    assert converted("messages", {"model": "m", "messages": messages})["messages"][1]["content"] == "So."
