"""A steering text that was accepted is announced as undelivered when its run ends without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from agents_app.engine import Failed, Leg, LegOutcome, Stopped
from tests.gateway_harness import Client
from tests.scripted_engine import Gate, ScriptedEngine, say

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = ["first", "second"]


def leg_ending_as(outcome: LegOutcome, gate: Gate) -> Callable[[Leg], Awaitable[LegOutcome]]:
    async def leg_of(leg: Leg) -> LegOutcome:
        await gate.pass_through()
        return outcome

    return leg_of


async def steered(api: Client, gate: Gate) -> tuple[str, str]:
    """A run at the gate that two texts have joined, and its session."""
    session = await api.session()
    request_id = await api.prompt(session, "go")
    await gate.arrival()
    for text in TEXTS:
        assert (await api.post(f"/v1/sessions/{session}/steer", {"text": text})).status == 202
    return session, request_id


async def check_announced(api: Client, session: str, request_id: str) -> None:
    log = [frame for frame in await api.log(session) if frame.data["requestId"] == request_id]
    told = [frame for frame in log if frame.event == "steering_undelivered"]
    assert [frame.data["text"] for frame in told] == TEXTS
    assert log[-1].event == "agent_abort"
    assert "steering" not in [frame.event for frame in log]


@pytest.mark.parametrize(
    "outcome", [Failed("upstream_error", "It is gone."), Stopped("max_turns", "The limit is reached.")]
)
async def test_a_run_that_fails_or_is_stopped_names_the_texts_that_it_did_not_take(
    api: Client, script: ScriptedEngine, outcome: LegOutcome
) -> None:
    gate = Gate()
    script.legs = [leg_ending_as(outcome, gate)]
    session, request_id = await steered(api, gate)
    gate.open()
    await api.follow_run(session, request_id)
    await check_announced(api, session, request_id)


@pytest.mark.parametrize("way", ["abort", "interrupt", "delete"])
async def test_a_run_that_is_ended_from_outside_names_the_texts_that_it_did_not_take(
    api: Client, script: ScriptedEngine, way: str
) -> None:
    gate = Gate()
    script.legs = [leg_ending_as(Failed("internal", "never"), gate)]
    session, request_id = await steered(api, gate)
    if way == "abort":
        assert (await api.post(f"/v1/sessions/{session}/abort", {})).status == 202
    elif way == "interrupt":
        await api.run(session, "instead", whenBusy="interrupt")
    else:
        assert (await api.delete(f"/v1/sessions/{session}")).status in (200, 202, 204)
    await check_announced(api, session, request_id)


async def test_a_text_that_was_delivered_is_not_announced_again(api: Client, script: ScriptedEngine) -> None:
    gate = Gate()

    async def take_and_fail(leg: Leg) -> LegOutcome:
        await gate.pass_through()
        assert await leg.take_steering() == tuple(TEXTS)
        await say(leg, ["half"])
        return Failed("upstream_error", "It is gone.")

    script.legs = [take_and_fail]
    session, request_id = await steered(api, gate)
    gate.open()
    await api.follow_run(session, request_id)
    types = [frame.event for frame in await api.log(session)]
    assert (types.count("steering"), types.count("steering_undelivered")) == (2, 0)
