"""The `demo` engine: the agent loop on a scripted model, offline and deterministic.

`demo:tour` demonstrates features by words in the prompt. `demo:echo` answers with the prompt's text.
`providerOpts.delayMs` is the pause between deltas, by default GATEWAY_DEMO_DELAY_MS for the first of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from decimal import Decimal

from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.profiles import ModelProfile

from agents_app.demo_script import turn_of
from agents_app.engine import Failed, Leg, LegOutcome, SessionSpec
from agents_app.loop import AgentLoop
from agents_app.ready_model import ServedModel
from inference_app.catalogue.config import models_config
from inference_app.catalogue.resolution import model_candidates
from inference_app.demo.pace import pace_acts
from inference_app.demo.script import SCRIPTS, Act, Call, Fail, Say, Script, Think
from inference_app.providers.retry_policy import Fault
from inference_app.relay.attempt import AttemptFailed
from inference_app.spend.usage import Usage

Piece = str | dict[int, DeltaThinkingPart] | dict[int, DeltaToolCall]

_PROFILE = ModelProfile(supports_json_schema_output=True, supports_json_object_output=True)


class DemoEngine:
    """Runs legs on the script that the session's model names."""

    name = "demo"
    builtin_tools = ("ask_user", "demo_approval")

    async def run_leg(self, leg: Leg) -> LegOutcome:
        candidates = model_candidates(models_config(), leg.session.model).candidates
        script = next((SCRIPTS.get(c.model) for c in candidates if c.provider == "demo"), None)
        if script is None:
            return Failed("unprocessable", f"There is no demo model called {leg.session.model}.")
        return await AgentLoop(leg, [_demo_model(leg.session, script)]).run()


def _demo_model(session: SessionSpec, script: Script) -> ServedModel:
    delay = session.options.get("delayMs")
    model = FunctionModel(stream_function=_stream_function(script, delay), model_name=session.model, profile=_PROFILE)
    return ServedModel(
        session.model,
        model,
        cost_of=_no_cost,
        says_end=False,
        may_be_blank=True,
        may_be_away=False,
    )


def _no_cost(usage: Usage) -> Decimal:
    return Decimal(0)


def _stream_function(
    script: Script, delay_ms: float | None
) -> Callable[[list[ModelMessage], AgentInfo], AsyncIterator[Piece]]:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Piece]:
        number = 0
        async for act in pace_acts(script(turn_of(messages, info)), delay_ms=delay_ms):
            yield _piece(act, number)
            number += 1

    return stream


def _piece(act: Act, number: int) -> Piece:
    if isinstance(act, Say):
        return act.text
    if isinstance(act, Think):
        return {0: DeltaThinkingPart(content=act.text)}
    if isinstance(act, Call):
        return {number + 1: DeltaToolCall(name=act.name, json_args=act.args, tool_call_id=f"call_{act.number}")}
    assert isinstance(act, Fail)
    raise AttemptFailed(Fault("status", "asked_to_fail", 500))


ENGINE = DemoEngine()
