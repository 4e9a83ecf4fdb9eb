"""Sessions and relayed calls share circuits, quotas and the models that tenants may use."""

from __future__ import annotations

import pytest

from agents_app.circuit import ProviderCircuit
from agents_app.engine import Engine, Failed, Finished
from agents_app.events import ModelFallback
from agents_app.registry import engine_get
from inference_app.catalogue.access import TenantAccess, access_replace
from inference_app.catalogue.config import BreakerPolicy
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuit_state import Circuit, Key
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.quota import EXHAUSTED
from tests.agents.conftest import Upstream
from tests.agents.recording_leg import Crash, World, session_of

pytestmark = pytest.mark.usefixtures("upstream")

POLICY = BreakerPolicy()
OTHER = 2


@pytest.fixture
def engine() -> Engine:
    return engine_get("model")


def world_of(model: str) -> World:
    world = World(session_of(model))
    world.prompt("Hi")
    return world


def open_circuit(candidate: Candidate) -> None:
    for _ in range(POLICY.failure_threshold):
        CIRCUITS.note_failure(candidate, POLICY, OTHER, connecting=True)


async def test_a_provider_that_keeps_failing_is_not_asked_by_the_next_run(engine: Engine, upstream: Upstream) -> None:
    for _ in range(POLICY.failure_threshold):
        first = await engine.run_leg(world_of("scripted:status:500").leg())
    assert CIRCUITS.state(Candidate("scripted", "status:500")) == "OPEN"
    before = len(upstream.requests())
    second = await engine.run_leg(world_of("scripted:status:500").leg())
    assert isinstance(first, Failed)
    assert isinstance(second, Failed)
    assert (second.code, second.retryable) == ("upstream_error", True)
    assert len(upstream.requests()) == before


async def test_a_candidate_that_relayed_calls_found_failing_is_passed_over(engine: Engine, upstream: Upstream) -> None:
    open_circuit(Candidate("scripted", "status:500"))
    world = world_of("resilient")
    assert await engine.run_leg(world.leg()) == Finished("Hello, world.")
    assert [request["model"] for request in upstream.requests()] == ["hello"]
    assert [event.to_model for event in world.events_of(ModelFallback)] == ["scripted:hello"]


async def test_a_run_waits_for_a_short_rest_of_its_only_provider(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests = iter([0.0, 0.0, None])
    monkeypatch.setattr(ProviderCircuit, "cooldown_remaining", lambda self: next(rests))
    assert await engine.run_leg(world_of("scripted:hello").leg()) == Finished("Hello, world.")


@pytest.mark.parametrize("model", ["scripted:status:400", "scripted:status:404", "scripted:status:422"])
async def test_what_the_request_has_earned_opens_no_circuit(engine: Engine, model: str) -> None:
    for _ in range(POLICY.failure_threshold + 1):
        assert isinstance(await engine.run_leg(world_of(model).leg()), Failed)
    assert CIRCUITS.state(Candidate("scripted", model.removeprefix("scripted:"))) == "CLOSED"


@pytest.mark.parametrize(
    ("model", "times", "blocked"),
    [
        ("status:503", POLICY.failure_threshold, True),
        ("status:401", POLICY.failure_threshold, True),
        ("drop:2", POLICY.failure_threshold, True),
        ("status:400", POLICY.failure_threshold, False),
        ("limited:0", POLICY.failure_threshold, False),
        ("limited:60", 1, True),
    ],
)
async def test_only_what_says_something_about_the_provider_counts(
    engine: Engine, model: str, times: int, blocked: bool
) -> None:
    world = world_of(f"scripted:{model}")
    for _ in range(times):
        assert isinstance(await engine.run_leg(world.leg()), Failed)
    rest = CIRCUITS.blocked_for(Candidate("scripted", model), POLICY, world.session.tenant_id)
    assert (rest is not None) is blocked


async def test_an_aborted_probe_leaves_room_for_the_next(engine: Engine) -> None:
    world, candidate = world_of("scripted:hello"), Candidate("scripted", "hello")
    CIRCUITS.learn(Key(world.session.tenant_id, candidate), Circuit(failures=3, open_until=1.0))
    leg = world.leg()
    with pytest.raises(Crash):
        await engine.run_leg(world.leg(crash_at=(1, False)))
    assert CIRCUITS.blocked_for(candidate, POLICY, world.session.tenant_id) is None
    assert await engine.run_leg(leg) == Finished("Hello, world.")
    assert CIRCUITS.state(candidate) == "CLOSED"


async def test_a_provider_whose_account_is_used_up_is_not_asked(engine: Engine, upstream: Upstream) -> None:
    EXHAUSTED.add("scripted")
    try:
        outcome = await engine.run_leg(world_of("scripted:hello").leg())
    finally:
        EXHAUSTED.clear()
    assert isinstance(outcome, Failed)
    assert (outcome.code, upstream.requests()) == ("upstream_error", [])


async def test_a_model_that_was_taken_from_the_tenant_is_not_asked_again(engine: Engine, upstream: Upstream) -> None:
    world = world_of("scripted:hello")
    access_replace({world.session.tenant_id: TenantAccess(("scripted:words:*",))})
    try:
        outcome = await engine.run_leg(world.leg())
    finally:
        access_replace({})
    assert isinstance(outcome, Failed)
    assert (outcome.code, upstream.requests()) == ("unprocessable", [])
