"""Anthropic's own client keeps threads, runs tools in them and compacts, over a provider that speaks only chat."""

from __future__ import annotations

import logging
from typing import Any

import anthropic
import pytest

from tests.agents.conftest import Upstream

THREADS = "anthropic.lib.threads._thread_state"
"""The logger by which the client says that it gives a thread up, and why."""


def roles(request: Any) -> list[str]:
    return [message["role"] for message in request["messages"]]


@anthropic.beta_tool
def echo(x: int) -> str:
    """Returns what it is given.

    Args:
        x: A number.
    """
    return f"r{x}"


@pytest.fixture
def unbroken(caplog: pytest.LogCaptureFixture) -> Any:
    """Fails if the client sends a conversation again, or goes on without a thread."""
    with caplog.at_level(logging.INFO, logger=THREADS):
        yield
    assert [record.message for record in caplog.records if record.name == THREADS] == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_thread_sends_new_messages_alone(
    anthropic_client: anthropic.Anthropic, plain: Upstream, unbroken: None, stream: bool
) -> None:
    thread = anthropic_client.beta.messages.thread(model="plain:hello", max_tokens=50, system="Be kind.")
    for text in ("One", "Two", "Three"):
        if stream:
            with thread.stream({"role": "user", "content": text}) as events:
                message: Any = events.get_final_message()
        else:
            message = thread.send({"role": "user", "content": text})
        assert (message.content[0].text, thread.previous_message_id) == ("Hello, world.", message.id)
    assert roles(plain.requests()[-1]) == ["system", *["user", "assistant"] * 2, "user"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_runner_continues_its_thread(
    anthropic_client: anthropic.Anthropic, plain: Upstream, unbroken: None, stream: bool
) -> None:
    runner: Any = anthropic_client.beta.messages.tool_runner(
        model="plain:parallel:3",
        max_tokens=100,
        messages=[{"role": "user", "content": "go"}],
        tools=[echo],
        stream=stream,
    )
    final = runner.until_done()
    assert final.stop_reason == "end_turn"
    first, second = plain.requests()
    assert (roles(first), roles(second)) == (["user"], ["user", "assistant", "tool", "tool", "tool"])
    assert [message["content"] for message in second["messages"][2:]] == ["r0", "r1", "r2"]
    assert first["tools"] == second["tools"]


def test_a_tool_runner_compacts_and_goes_on(
    anthropic_client: anthropic.Anthropic, plain: Upstream, unbroken: None
) -> None:
    runner: Any = anthropic_client.beta.messages.tool_runner(
        model="plain:parallel:1",
        max_tokens=100,
        messages=[{"role": "user", "content": "go"}],
        tools=[echo],
        betas=["compact-2026-09-04"],
    )
    reasons = []
    for message in runner:
        reasons.append(message.stop_reason)
        if len(reasons) == 1:
            runner.compact_before_next_turn()
    assert reasons[:2] == ["tool_use", "compaction"]
    assert len(plain.requests()) == len(reasons)
    assert roles(plain.requests()[1])[-1] == "user"
    assert plain.requests()[2]["messages"][0]["content"].startswith("Summary of the conversation")


def test_a_thread_goes_on_at_a_provider_of_another_wire(
    anthropic_client: anthropic.Anthropic, plain: Upstream, everything: Upstream, unbroken: None
) -> None:
    thread = anthropic_client.beta.messages.thread(model="plain:hello", max_tokens=50)
    thread.send({"role": "user", "content": "One"})
    for model in ("claude:hello", "gpt:hello", "plain:hello"):
        thread.send({"role": "user", "content": model}, model=model)
    assert roles(plain.requests()[-1]) == [*["user", "assistant"] * 3, "user"]


def test_a_lost_thread_is_replayed_by_the_client(anthropic_client: anthropic.Anthropic, plain: Upstream) -> None:
    thread = anthropic_client.beta.messages.thread(model="plain:hello", max_tokens=50)
    first: Any = thread.send({"role": "user", "content": "One"})
    other = anthropic_client.beta.messages.create(
        model="plain:hello",
        max_tokens=50,
        messages=[{"role": "user", "content": "Fork"}],
        thread={"type": "continue", "previous_message_id": first.id},
        betas=["message-threads-2026-08-12"],
    )
    assert other.id != first.id
    with pytest.raises(anthropic.NotFoundError) as refusal:
        anthropic_client.beta.messages.create(
            model="plain:hello",
            max_tokens=50,
            messages=[{"role": "user", "content": "Fork"}],
            thread={"type": "continue", "previous_message_id": "msg_unknown"},
            betas=["message-threads-2026-08-12"],
        )
    assert type(refusal.value).__name__ == "ThreadNotFoundError"
    thread.send({"role": "user", "content": "Two"})
    said = [message["content"] for message in plain.requests()[-1]["messages"]]
    assert said == ["One", "Hello, world.", "Two"]
