"""Compaction of the Messages API: a summary in place of a conversation, over providers of every wire."""

from __future__ import annotations

from typing import Any

import pytest

from inference_app.conversion.requests.summaries import HEADING
from responses_app.compaction import INSTRUCTIONS
from tests.faces.inference.scripted import WHOLE, Reply, body, scripted
from tests.gateway_harness import Client
from tests.responses.conftest import posted, whole
from tests.responses.threads.conftest import CREATE, URL, Json, after, ask, asked, shown, user

pytestmark = pytest.mark.django_db(transaction=True)

COMPACT = {"type": "summarize"}
SAID = [user("One"), {"role": "assistant", "content": "A"}, user("Two")]
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}


def message_of(frames: list[Any]) -> Json:
    """Returns the message of a streamed summary, as a client builds it."""
    start, block, delta, _, end, _ = (frame.data for frame in frames)
    whole_block = {**block["content_block"], "content": delta["delta"]["content"]}
    return {**start["message"], "content": [whole_block], **end["delta"], "usage": end["usage"]}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_is_compacted_by_the_model_and_goes_on(api: Client, settings: Any, stream: bool) -> None:
    async with scripted(settings, whole("They said One."), whole("B")) as provider:
        request = asked(SAID, None, compaction=COMPACT, tools=[TOOL], system="Be kind.", stream=stream)
        if stream:
            async with posted(api, request, URL) as reader:
                message = message_of(await reader.read_to_end())
        else:
            message = (await api.post(URL, request)).json
        reply = {"role": "assistant", "content": message["content"]}
        await ask(api, [reply, user("Three")], None)
    (block,) = message["content"]
    assert (block["type"], block["content"], message["stop_reason"]) == ("compaction", "They said One.", "compaction")
    assert message["usage"]["iterations"][0] == {
        "type": "compaction", "input_tokens": 11, "output_tokens": 7, "cache_creation": None,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
    }  # fmt: skip
    summary = provider.requests[0]
    assert shown(summary)[:4] == [("system", "Be kind."), ("user", "One"), ("assistant", "A"), ("user", "Two")]
    assert shown(summary)[4] == ("user", INSTRUCTIONS)
    assert summary["tool_choice"] == "none"
    assert not {"compaction", "stream"} & set(summary)
    assert shown(provider.requests[1]) == [("user", f"{HEADING}They said One."), ("user", "Three")]


async def test_a_summary_alone_is_a_conversation_at_every_provider(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("They said One."), Reply(pieces=[body(WHOLE["messages"])]), whole("C")) as seen:
        message = await ask(api, SAID, None, compaction={**COMPACT, "instructions": "Only names."})
        assert shown(seen.requests[0])[-1] == ("user", "Only names.")
        alone = [*SAID, {"role": "assistant", "content": message["content"]}]
        await ask(api, alone, None, "a:m")
        await ask(api, alone, None)
    told = [("user", f"{HEADING}They said One.")]
    assert shown(seen.requests[1]) == shown(seen.requests[2]) == told


async def test_a_provider_of_anthropics_wire_compacts_by_itself_and_others_read_its_summary(
    api: Client, settings: Any
) -> None:
    block = {"type": "compaction", "content": "Short.", "signature": "sig_1", "encrypted_content": "x"}
    compacted = {**WHOLE["messages"], "content": [block], "stop_reason": "compaction"}
    async with scripted(
        settings, Reply(pieces=[body(compacted)]), Reply(pieces=[body(WHOLE["messages"])]), whole("C")
    ) as seen:
        message = await ask(api, SAID, None, "a:m", compaction=COMPACT)
        history = [{"role": "assistant", "content": message["content"]}, user("On")]
        await ask(api, history, None, "a:m")
        await ask(api, history, None)
    assert seen.requests[0]["compaction"] == COMPACT
    assert message["content"] == [block]
    assert seen.requests[1]["messages"] == history
    assert shown(seen.requests[2]) == [("user", f"{HEADING}Short."), ("user", "On")]


async def test_a_thread_is_compacted_and_continued(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("A"), whole("They said One."), whole("C")) as provider:
        first = await ask(api, "One")
        second = await ask(api, "Sum up?", after(first), compaction=COMPACT)
        await ask(api, "Three", after(second))
    assert [content for _, content in shown(provider.requests[1])] == ["One", "A", "Sum up?", INSTRUCTIONS]
    assert shown(provider.requests[2]) == [("user", f"{HEADING}They said One."), ("user", "Three")]


async def test_a_failed_compaction_says_so_and_its_block_changes_nothing(api: Client, settings: Any) -> None:
    async with scripted(settings, whole(" "), whole("B")) as provider:
        message = await ask(api, SAID, None, compaction=COMPACT)
        reply = {"role": "assistant", "content": message["content"]}
        await ask(api, [*SAID, reply, user("Three")], None)
    assert message["content"][0]["content"] is None
    assert [content for _, content in shown(provider.requests[1])] == ["One", "A", "Two", "Three"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"compaction": {"type": "other"}}, "compaction"),
        ({"compaction": "summarize"}, "compaction"),
        ({"compaction": {"type": "summarize", "instructions": 5}}, "compaction"),
        ({"compaction": COMPACT, "context_management": {"edits": []}}, "context_management"),
    ],
)
async def test_malformed_compactions_are_refused(api: Client, settings: Any, fields: Json, named: str) -> None:
    async with scripted(settings, whole("A")) as provider:
        for thread in (None, CREATE):
            answer = await api.post(URL, asked(SAID, thread, **fields))
            assert (answer.status, named in answer.json["error"]["message"]) == (400, True)
    assert provider.requests == []


async def test_the_tokens_of_a_summary_are_counted(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("They said One."), Reply(pieces=[body({"input_tokens": 9})])) as provider:
        message = await ask(api, SAID, None, compaction=COMPACT)
        given = {"model": "a:m", "messages": [{"role": "assistant", "content": message["content"]}]}
        assert (await api.post(f"{URL}/count_tokens", given)).json == {"input_tokens": 9}
    assert shown(provider.requests[1]) == [("user", f"{HEADING}They said One.")]
