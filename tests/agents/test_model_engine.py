"""The model engine against an OpenAI-compatible server in a process of its own, on every path of the loop."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from agents_app.engine import Attachment, Engine, Failed, Finished, HistoryMessage, Stopped
from agents_app.events import (
    ContextSummarized,
    ContextTruncated,
    MessageDelta,
    ModelFallback,
    ThinkingDelta,
    ThinkingStart,
)
from agents_app.registry import engine_get
from events_app.types import Event
from sessions_app.events import MessageEnd, ToolCalls
from tests.agents.conftest import Upstream
from tests.agents.engine_contract import SCHEMA, EngineContract
from tests.agents.recording_leg import RecordingLeg, World, session_of
from tools_app.types import CallResult

pytestmark = pytest.mark.usefixtures("upstream")


@pytest.fixture
def engine() -> Engine:
    return engine_get("model")


class TestModelKeepsTheContract(EngineContract):
    def situation(self, name: str) -> tuple[str, str]:
        models = {
            "answer": "hello",
            "tool": "tool:echo",
            "later": "tool:later",
            "mixed": "mixed",
            "failing": "status:500",
            "structured": "structured",
        }
        return f"scripted:{models[name]}", "Hi"


def world_of(model: str, prompt: str = "Hi", **session: Any) -> World:
    """Builds a run on a scenario of the scripted provider; `=name` is a complete model name."""
    world = World(session_of(model[1:] if model.startswith("=") else f"scripted:{model}", **session))
    world.prompt(prompt)
    return world


async def run_to_answer(engine: Engine, world: World) -> str:
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Finished), outcome
    return outcome.content


async def run_to_failure(engine: Engine, world: World) -> Failed:
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Failed), outcome
    assert "SECRET" not in outcome.reason
    return outcome


async def test_reasoning_is_streamed_apart_from_the_text(engine: Engine) -> None:
    world = world_of("reasoning")
    assert await run_to_answer(engine, world) == "Then I answer."
    assert len(world.events_of(ThinkingStart)) == 1
    assert "".join(event.delta for event in world.events_of(ThinkingDelta)) == "First, I think."


async def test_parallel_calls_with_repeated_ids_get_ids_of_their_own(engine: Engine) -> None:
    world = world_of("parallel:5")
    world.tools["echo"] = lambda args: f"<{dict(args)['x']}>"
    content = await run_to_answer(engine, world)
    assert content == "Tools said: <0> | <1> | <2> | <3> | <4>"
    assert len({call.call_id for call in world.executed}) == 5
    assert world.completions[0].calls[0].provider_id == "call_0"
    assert world.events_of(ToolCalls) == [ToolCalls(count=5)]


async def test_the_model_is_told_the_gateways_ids_in_place_of_its_own(engine: Engine, upstream: Upstream) -> None:
    world = world_of("parallel:2")
    await run_to_answer(engine, world)
    messages = upstream.requests()[-1]["messages"]
    asked_for = [call["id"] for message in messages for call in message.get("tool_calls") or []]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert asked_for == answered == list(world.calls)


async def test_parallel_calls_run_at_the_same_time(engine: Engine) -> None:
    world = world_of("parallel:3")
    leg = LegWithBarrier(world, 3)
    assert isinstance(await engine.run_leg(leg), Finished)


async def test_malformed_arguments_are_answered_like_any_call(engine: Engine) -> None:
    world = world_of("malformed")
    content = await run_to_answer(engine, world)
    assert content.count("not a JSON object") == 2
    assert [call.args for call in world.calls.values()] == ['{"x": ', "[1]"]


async def test_an_unknown_tool_is_answered_like_any_call(engine: Engine) -> None:
    world = world_of("unknown-tool")
    assert "There is no tool called no_such_tool." in await run_to_answer(engine, world)


async def test_a_model_that_calls_for_ever_stops_at_the_limit(engine: Engine) -> None:
    world = world_of("endless", max_turns=60)
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Stopped)
    assert len(world.completions) == 60


async def test_more_calls_than_allowed_end_the_run_with_what_they_cost(engine: Engine) -> None:
    world = world_of("many-calls:1000")
    outcome = await run_to_failure(engine, world)
    assert outcome.code == "unprocessable"
    assert "128" in outcome.reason
    assert world.calls == {}
    assert len(world.usage) == 1


async def test_unclean_strings_are_cleaned_before_they_leave_the_engine(engine: Engine) -> None:
    world = world_of("unclean")
    world.tools["echo"] = lambda args: json.dumps(args, ensure_ascii=False)
    content = await run_to_answer(engine, world)
    assert content == "a\ufffdb\ufffdc"
    assert [call.args for call in world.calls.values()] == [
        {"k\ufffd": "v\ufffd\ufffd", "n": 123456789012345678901234567890}
    ]
    for completion in world.completions:
        assert b"\\u0000" not in completion.payload
        assert b"\\ud800" not in completion.payload.lower()
    world.prompt("again")
    assert await run_to_answer(engine, world)


async def test_usage_comes_from_the_last_chunk_and_the_configured_price_wins(engine: Engine) -> None:
    world = world_of("hello")
    await run_to_answer(engine, world)
    usage = world.usage[0]
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens) == (11, 7, 3, 2)
    assert usage.cost_usd == Decimal(11 - 3 + 2 * 7)
    assert usage.model == "scripted:hello"


async def test_a_provider_without_usage_is_estimated_and_an_unknown_price_is_none(engine: Engine) -> None:
    world = world_of("hello-nousage")
    await run_to_answer(engine, world)
    assert world.usage[0].output_tokens > 0
    assert world.usage[0].cost_usd is None


@pytest.mark.parametrize(
    ("model", "code", "retryable", "requests"),
    [
        ("status:500", "upstream_error", True, 3),
        ("status:503", "upstream_error", True, 3),
        ("status:529", "upstream_error", True, 3),
        ("status:408", "upstream_error", True, 3),
        ("status:409", "upstream_error", True, 3),
        ("status:501", "upstream_error", True, 1),
        ("status:429", "rate_limited", True, 3),
        ("limited:3600", "rate_limited", True, 1),
        ("status:400", "bad_request", False, 1),
        ("status:401", "upstream_error", False, 1),
        ("status:402", "upstream_error", False, 1),
        ("status:404", "unprocessable", False, 1),
        ("status:422", "unprocessable", False, 1),
        ("drop:0", "upstream_error", True, 3),
        ("drop:2", "upstream_error", True, 1),
        ("cut", "upstream_error", True, 1),
        ("in-stream-error", "upstream_error", True, 1),
        ("context-full:10", "context_length_exceeded", False, 1),
    ],
)
async def test_a_failure_has_its_code_and_is_tried_again_only_where_that_can_help(
    engine: Engine, upstream: Upstream, model: str, code: str, retryable: bool, requests: int
) -> None:
    outcome = await run_to_failure(engine, world_of(model))
    assert (outcome.code, outcome.retryable) == (code, retryable)
    assert len(upstream.requests()) == requests


@pytest.mark.parametrize(("model", "requests"), [("=hasty:hang:0", 3), ("=hasty:hang:2", 1)])
async def test_a_provider_that_hangs_is_given_up(engine: Engine, upstream: Upstream, model: str, requests: int) -> None:
    outcome = await run_to_failure(engine, world_of(model))
    assert (outcome.code, outcome.retryable) == ("timeout", True)
    assert len(upstream.requests()) == requests


async def test_a_provider_that_nobody_answers_for_is_an_upstream_error(engine: Engine) -> None:
    outcome = await run_to_failure(engine, world_of("=closed:any"))
    assert (outcome.code, outcome.retryable) == ("upstream_error", True)


@pytest.mark.parametrize("model", ["flaky:500:2", "flaky:429:2", "flaky:503:1"])
async def test_a_failure_that_passes_is_not_seen_by_the_client(engine: Engine, model: str) -> None:
    world = world_of(model)
    assert await run_to_answer(engine, world) == "Hello, world."
    assert len(world.completions) == 1
    assert "".join(event.delta for event in world.events_of(MessageDelta)) == "Hello, world."


async def test_what_was_streamed_before_a_break_is_not_asked_for_again(engine: Engine) -> None:
    world = world_of("drop:3")
    await run_to_failure(engine, world)
    assert [event.delta for event in world.events_of(MessageDelta)] == ["piece0 ", "piece1 ", "piece2 "]
    assert world.completions == []


async def test_the_next_candidate_takes_over_when_the_first_keeps_failing(engine: Engine, upstream: Upstream) -> None:
    world = world_of("=resilient")
    assert await run_to_answer(engine, world) == "Hello, world."
    assert world.events_of(ModelFallback) == [
        ModelFallback(from_model="scripted:status:500", to_model="scripted:hello", reason="upstream_error")
    ]
    assert [usage.model for usage in world.usage] == ["scripted:hello"]


@pytest.mark.parametrize("alias", ["hopeless", "either"])
async def test_no_candidate_takes_over_from_a_refusal_or_in_the_middle_of_an_answer(engine: Engine, alias: str) -> None:
    world = world_of(f"={alias}")
    await run_to_failure(engine, world)
    assert world.events_of(ModelFallback) == []


async def test_an_answer_that_does_not_fit_is_asked_for_again_unseen(engine: Engine) -> None:
    world = world_of("structured:2", response_format=SCHEMA)
    assert await run_to_answer(engine, world) == '{"city":"Rome"}'
    assert [completion.text for completion in world.completions] == ["", "", '{"city":"Rome"}']
    assert [event.content for event in world.events_of(MessageEnd)] == ['{"city":"Rome"}']


async def test_answers_that_never_fit_end_the_run(engine: Engine) -> None:
    world = world_of("structured:9", response_format=SCHEMA)
    assert (await run_to_failure(engine, world)).code == "unprocessable"
    assert len(world.completions) == 3
    assert world.events_of(MessageDelta) == []


async def test_answers_that_do_not_fit_are_counted_over_legs(engine: Engine) -> None:
    world = world_of("structured:9", response_format=SCHEMA, max_turns=2)
    assert isinstance(await engine.run_leg(world.leg()), Stopped)
    world.session = replace(world.session, max_turns=100)
    await run_to_failure(engine, world)
    assert len(world.completions) == 3


async def test_a_response_format_and_tools_go_together(engine: Engine, upstream: Upstream) -> None:
    world = world_of("structured-tool", response_format=SCHEMA)
    assert await run_to_answer(engine, world) == '{"city":"Rome"}'
    assert [completion.text for completion in world.completions] == ["Let me look. ", '{"city":"Rome"}']
    assert upstream.requests()[0]["response_format"]["type"] == "json_schema"
    assert [tool["function"]["name"] for tool in upstream.requests()[0]["tools"]] == ["echo", "later"]


@pytest.mark.parametrize(("model", "turns"), [("empty:1", 2), ("empty:2", 3)])
async def test_an_empty_response_is_asked_for_again(engine: Engine, model: str, turns: int) -> None:
    world = world_of(model)
    assert await run_to_answer(engine, world) == "At last."
    assert len(world.completions) == turns


@pytest.mark.parametrize("model", ["empty:99", "only-reasoning"])
async def test_a_model_that_never_answers_ends_the_run(engine: Engine, model: str) -> None:
    world = world_of(model)
    assert (await run_to_failure(engine, world)).code == "unprocessable"
    assert len(world.completions) == 3


def long_history(turns: int) -> list[HistoryMessage]:
    history: list[HistoryMessage] = []
    for number in range(turns):
        history.append(HistoryMessage(f"u{number}", "user", f"question {number} " + "x" * 200))
        history.append(HistoryMessage(f"a{number}", "assistant", f"answer {number} " + "y" * 200))
    return history


async def test_a_conversation_that_is_too_long_is_refused_when_the_session_says_so(engine: Engine) -> None:
    world = world_of("context-full", history_policy="error")
    world.history[:0] = long_history(10)
    assert (await run_to_failure(engine, world)).code == "context_length_exceeded"


async def test_the_oldest_turns_are_left_out_and_the_stored_history_stays_whole(
    engine: Engine, upstream: Upstream
) -> None:
    world = world_of("context-full", system_prompt="Be brief.")
    world.history[:0] = long_history(10)
    await run_to_answer(engine, world)
    event = world.events_of(ContextTruncated)[0]
    assert event.messages > 0
    assert event.messages % 2 == 0
    assert event.tokens > 0
    assert len(world.history) == 22
    sent = upstream.requests()[-1]["messages"]
    assert sent[0] == {"role": "system", "content": "Be brief."}
    assert sent[1]["role"] == "user"
    assert sent[-1]["content"] == "Hi"


async def test_the_next_leg_begins_at_the_cut_instead_of_failing_first(engine: Engine, upstream: Upstream) -> None:
    world = world_of("context-full:3000")
    world.history[:0] = long_history(10)
    await run_to_answer(engine, world)
    upstream.reset()
    world.prompt("And now?")
    await run_to_answer(engine, world)
    assert len(upstream.requests()) == 1
    assert len(world.events_of(ContextTruncated)) == 1


async def test_another_model_is_given_the_whole_history_again(engine: Engine, upstream: Upstream) -> None:
    world = world_of("context-full:3000")
    world.history[:0] = long_history(10)
    await run_to_answer(engine, world)
    world.session = replace(world.session, model="scripted:hello")
    world.prompt("And now?")
    await run_to_answer(engine, world)
    assert len(upstream.requests()[-1]["messages"]) == 23


async def test_a_summary_takes_the_place_of_what_is_left_out_and_is_paid_for(
    engine: Engine, upstream: Upstream
) -> None:
    world = world_of("summarizing:3200", history_policy="summarize")
    world.history[:0] = long_history(10)
    await run_to_answer(engine, world)
    assert len(world.events_of(ContextSummarized)) == 1
    sent = upstream.requests()[-1]["messages"]
    assert "SUMMARY of it" in json.dumps(sent[0])
    assert [usage.input_tokens for usage in world.spent] == [11]
    assert world.usage[0].input_tokens == 11
    world.prompt("And now?")
    await run_to_answer(engine, world)
    assert "SUMMARY of it" in json.dumps(upstream.requests()[-1]["messages"][0])
    assert len(world.events_of(ContextSummarized)) == 1


async def test_a_summary_that_fails_leaves_a_truncated_conversation(engine: Engine) -> None:
    world = world_of("context-full:3000", history_policy="summarize")
    world.history[:0] = long_history(12)
    await run_to_answer(engine, world)
    assert len(world.events_of(ContextTruncated) + world.events_of(ContextSummarized)) == 1


async def test_a_run_of_many_tools_is_shortened_without_parting_calls_from_results(
    engine: Engine, upstream: Upstream
) -> None:
    world = world_of("endless", max_turns=6)
    world.tools["echo"] = lambda args: "z" * 300
    await engine.run_leg(world.leg())
    world.session = replace(world.session, model="scripted:context-full", max_turns=100)
    await run_to_answer(engine, world)
    sent = upstream.requests()[-1]["messages"]
    called = [call["id"] for message in sent for call in message.get("tool_calls") or []]
    assert called == [message["tool_call_id"] for message in sent if message["role"] == "tool"]
    assert 0 < len(called) < 6
    assert sent[0]["content"] == "Hi"


async def test_a_known_window_is_kept_to_before_the_first_request(engine: Engine, upstream: Upstream) -> None:
    world = world_of("small")
    world.history[:0] = long_history(10)
    outcome = await run_to_failure(engine, world)
    assert outcome.code == "unprocessable"
    assert len(world.events_of(ContextTruncated)) == 1
    assert len(upstream.requests()[0]["messages"]) < 10


async def test_attachments_reach_the_model_in_its_own_form(engine: Engine) -> None:
    world = world_of("vision")
    world.history.clear()
    world.prompt(
        "Look",
        (
            Attachment("image", "image/png", data=b"\x89PNG"),
            Attachment("image", "image/png", url="https://example.com/a.png"),
            Attachment("file", "application/pdf", name="a.pdf", data=b"%PDF"),
            Attachment("audio", "audio/wav", data=b"RIFF"),
        ),
    )
    assert await run_to_answer(engine, world) == "text,image_url,image_url,file,input_audio"


async def test_an_attachment_the_model_cannot_take_ends_the_run_with_a_sentence(engine: Engine) -> None:
    world = world_of("vision")
    world.history.clear()
    world.prompt("Look", (Attachment("audio", "audio/x-unheard-of", data=b"?"),))
    outcome = await run_to_failure(engine, world)
    assert outcome.code in {"unprocessable", "bad_request"}


async def test_options_reach_the_model_under_its_own_names(engine: Engine) -> None:
    options = {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": "END",
        "reasoning_effort": "low",
        "logit_bias": {"5": 1},
    }
    world = world_of("settings", options=options, max_tokens=55)
    sent = json.loads(await run_to_answer(engine, world))
    assert {key: sent[key] for key in ("temperature", "top_p", "seed", "stop", "reasoning_effort", "logit_bias")} == {
        **options,
        "stop": ["END"],
    }
    assert sent.get("max_completion_tokens", sent.get("max_tokens")) == 55


async def test_a_provider_gets_its_own_key_and_no_other(engine: Engine, upstream: Upstream, monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-operators-own")
    monkeypatch.setenv("TEST_UPSTREAM_KEY", "one")
    await run_to_answer(engine, world_of("hello"))
    await run_to_answer(engine, world_of("=keyed:hello"))
    monkeypatch.setenv("TEST_UPSTREAM_KEY", "two")
    await run_to_answer(engine, world_of("=keyed:hello"))
    assert [request["__authorization"] for request in upstream.requests()] == [
        "",
        "Bearer one",
        "Bearer two",
    ]


async def test_a_large_history_is_decoded_without_blocking_the_loop(engine: Engine) -> None:
    world = world_of("hello")
    world.history[:0] = [HistoryMessage(f"u{n}", "user", "x" * 5000) for n in range(100)]
    assert await run_to_answer(engine, world) == "Hello, world."


async def test_a_payload_that_cannot_be_read_is_replaced_by_the_stored_text(engine: Engine, upstream: Upstream) -> None:
    world = world_of("hello")
    world.history[:0] = [
        HistoryMessage("u", "user", "Earlier"),
        HistoryMessage("a", "assistant", "Stored text", payload=b"not json"),
    ]
    await run_to_answer(engine, world)
    assert upstream.requests()[0]["messages"][1] == {"role": "assistant", "content": "Stored text"}


async def test_a_stored_message_that_says_nothing_is_not_sent(engine: Engine, upstream: Upstream) -> None:
    world = world_of("hello")
    world.history[:0] = [HistoryMessage("u", "user", "Earlier"), HistoryMessage("a", "assistant", "")]
    await run_to_answer(engine, world)
    assert {message["role"] for message in upstream.requests()[0]["messages"]} == {"user"}


async def test_an_abort_in_the_middle_of_an_answer_closes_the_request(engine: Engine, upstream: Upstream) -> None:
    leg = LegWithSignal(world_of("slow:5:100000"))
    task = asyncio.create_task(engine.run_leg(leg))
    async with asyncio.timeout(60):
        await leg.streaming.wait()
        assert await asyncio.to_thread(upstream.open_streams) == 1
        task.cancel()
        await asyncio.wait([task])
        while await asyncio.to_thread(upstream.open_streams):
            pass
    assert task.cancelled()


class LegWithSignal(RecordingLeg):
    """Signals when the first text has come."""

    def __init__(self, world: World) -> None:
        super().__init__(world, None)
        self.streaming = asyncio.Event()

    async def emit(self, event: Event) -> None:
        await super().emit(event)
        if isinstance(event, MessageDelta):
            self.streaming.set()


class LegWithBarrier(RecordingLeg):
    """A leg whose tool calls wait for each other."""

    def __init__(self, world: World, parties: int) -> None:
        super().__init__(world, None)
        self._barrier = asyncio.Barrier(parties)

    async def call(self, call_id: str) -> CallResult | None:
        async with asyncio.timeout(60):
            await self._barrier.wait()
        return await super().call(call_id)
