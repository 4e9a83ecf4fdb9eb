"""Guardrails refuse prompts, tool calls and answers, and a guardrail that raises an error refuses too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from agents_app.engine import Finished, Leg, LegOutcome, ToolRequest
from agents_app.guardrails import Guardrail, Subject, load_guardrails
from tests.gateway_harness import Client
from tests.scripted_engine import ScriptedEngine, say, saying_leg

pytestmark = pytest.mark.django_db(transaction=True)


class NoTools(Guardrail):
    def before_tool(self, subject: Subject, name: str, args: Mapping[str, Any] | str) -> str | None:
        return f"{subject.session_id} may not use {name}."


class Broken(Guardrail):
    def before_prompt(self, subject: Subject, text: str) -> str | None:
        raise RuntimeError("a bug of the operator's")


async def test_a_refused_prompt_is_422_and_leaves_nothing(api: Client, settings: Any) -> None:
    settings.GATEWAY_GUARDRAILS = ["agents_app.guardrails:BannedWords"]
    settings.GATEWAY_BANNED_WORDS = ["Xyzzy"]
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "say xyzzy"})
    assert (*answer.error, answer.field) == (422, "unprocessable", "text")
    assert await api.log(session) == []
    assert (await api.run(session, "say hello"))["status"] == "completed"


async def test_a_text_that_would_join_a_run_is_checked_as_a_prompt_is(api: Client, settings: Any) -> None:
    settings.GATEWAY_GUARDRAILS = ["agents_app.guardrails:BannedWords"]
    settings.GATEWAY_BANNED_WORDS = ["xyzzy"]
    session = await api.session(model="demo:tour")
    async with api.events(session) as reader:
        await api.prompt(session, "approve")
        await reader.next_of("approval_required")
    answer = await api.post(f"/v1/sessions/{session}/steer", {"text": "say xyzzy"})
    assert (*answer.error, answer.field) == (422, "unprocessable", "text")
    assert (await api.post(f"/v1/sessions/{session}/steer", {"text": "say hello"})).status == 202


async def test_a_refused_answer_ends_its_run_with_an_error(api: Client, settings: Any, script: ScriptedEngine) -> None:
    settings.GATEWAY_GUARDRAILS = ["agents_app.guardrails:BannedWords"]
    settings.GATEWAY_BANNED_WORDS = ["xyzzy"]
    script.behaviour = saying_leg("the word is ", "xyzzy")
    session = await api.session()
    run = await api.run(session, "what is the word")
    assert (run["status"], run["error"]["code"]) == ("failed", "guardrail_refused")


async def test_a_refused_tool_is_told_to_the_model_and_never_made(
    api: Client, settings: Any, script: ScriptedEngine
) -> None:
    settings.GATEWAY_GUARDRAILS = ["tests.sessions.test_guardrails:NoTools"]
    told: list[str] = []

    async def leg_of(leg: Leg) -> LegOutcome:
        _, calls = await say(leg, [], (ToolRequest("current_time", {}, "c"),))
        result = await leg.call(calls[0].call_id)
        assert result is not None
        told.append(f"{result.status}: {result.content}")
        text, _ = await say(leg, ["done"])
        return Finished(text)

    script.behaviour = leg_of
    session = await api.session(tools=["current_time"])
    await api.run(session, "what time is it")
    assert told == [f"rejected: {session} may not use current_time."]
    types = [frame.event for frame in await api.log(session)]
    assert "tool_execution_start" not in types


async def test_a_guardrail_that_breaks_refuses(api: Client, settings: Any) -> None:
    settings.GATEWAY_GUARDRAILS = ["tests.sessions.test_guardrails:Broken"]
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "hello"})
    assert answer.error == (422, "unprocessable")
    assert b"bug" not in answer.body


@pytest.mark.parametrize("path", ["nowhere:Rail", "agents_app.guardrails:Nothing", "agents_app.guardrails:Subject"])
def test_a_guardrail_that_cannot_be_had_is_named(settings: Any, path: str) -> None:
    settings.GATEWAY_GUARDRAILS = [path]
    with pytest.raises(ImproperlyConfigured, match="GATEWAY_GUARDRAILS"):
        load_guardrails()
