"""A run outlives the outage of its provider, holds nothing meanwhile, and ends when the outage lasts too long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from agents_app.engine import Failed
from core_app import database
from events_app.models import Stream
from gateway_project.operations import doctor
from inference_app.providers.circuits import CIRCUITS
from sessions_app.legs.runner import RUNNER
from sessions_app.legs.sweep import sessions_with_work, sweep
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.services import provider_wait
from sessions_app.services.decisions import session_unblock
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness, eventually

pytestmark = pytest.mark.django_db(transaction=True)


def types_without_deltas(log: Any) -> list[str]:
    return [frame.event for frame in log if frame.event != "message_delta"]


async def put_back(api: Client, model: str, text: str = "hello", **session: Any) -> tuple[str, str]:
    """A session whose run waits for its provider, and the run."""
    session_id = await api.session(model=model, **session)
    async with api.events(session_id) as reader:
        request_id = await api.prompt(session_id, text)
        await reader.next_of("provider_waiting")
    await eventually(lambda: not RUNNER.running)
    return session_id, request_id


async def pass_time(request_id: str, seconds: float = 0.0) -> None:
    """Lets the pause of the run end now, with its provider's circuit closed, and its outage have begun `seconds`
    earlier."""
    CIRCUITS.reset()

    def change() -> None:
        earlier = timedelta(seconds=seconds)
        Run.objects.filter(pk=request_id).update(
            resume_at=database.database_moment() - timedelta(seconds=1), outage_since=F("outage_since") - earlier
        )
        sweep()

    await database.run(change)


async def test_a_run_waits_for_its_provider_and_goes_on_when_it_answers(api: Client) -> None:
    session, request_id = await put_back(api, "scripted:flaky:503:3")
    run = (await api.get(f"/v1/sessions/{session}/runs/{request_id}")).json
    assert (run["status"], run["error"]) == ("waiting", None)
    waiting = next(frame for frame in await api.log(session) if frame.event == "provider_waiting")
    assert run["providerWaiting"] == {name: waiting.data[name] for name in ("until", "reason")}
    status = (await api.get(f"/v1/sessions/{session}/status")).json
    assert (status["state"], status["run"]["providerWaiting"]) == ("working", run["providerWaiting"])
    await pass_time(request_id)
    run = await api.follow_run(session, request_id)
    assert (run["status"], run["lastMessage"]["content"], run["providerWaiting"]) == (
        "completed",
        "Hello, world.",
        None,
    )
    assert types_without_deltas(await api.log(session)) == [
        "prompt_received",
        "agent_start",
        "provider_waiting",
        "provider_resumed",
        "message_start",
        "message_end",
        "agent_end",
    ]


async def test_a_run_that_waits_for_its_provider_holds_nothing(api: Client) -> None:
    session, _ = await put_back(api, "closed:hello")
    assert RUNNER.running == 0
    assert await database.run(lambda: Stream.objects.get(agentsession__public_id=session).owner) is None
    assert await database.run(sessions_with_work) == []
    assert await database.run(doctor.check_waiting_runs) == (
        "ok",
        "every waiting run has a call or a provider to wait for.",
    )


async def test_waits_are_no_deaths_and_each_is_longer_up_to_a_minute(
    api: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GATEWAY_MAX_ATTEMPTS = 2
    monkeypatch.setattr("random.random", lambda: 0.5)
    session, request_id = await put_back(api, "closed:hello")
    for waits in range(2, 7):
        async with api.events(session, since=0) as reader:
            await pass_time(request_id)
            for _ in range(waits):
                await reader.next_of("provider_waiting")
        await eventually(lambda: not RUNNER.running)
    run = await database.run(Run.objects.get, pk=request_id)
    assert (run.state, run.outage_tries) == (RunState.WAITING, 6)
    assert [provider_wait._pause(tries, 0.0) for tries in range(6)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert provider_wait._pause(0, 120.0) == 120.0
    types = types_without_deltas(await api.log(session))
    assert "run_retried" not in types
    assert "provider_resumed" not in types
    await api.post(f"/v1/sessions/{session}/abort", {})


async def test_the_run_waits_as_long_as_the_provider_asks_but_not_beyond_the_limit(api: Client, settings: Any) -> None:
    settings.GATEWAY_PROVIDER_OUTAGE_SECONDS = 600
    _, shorter = await put_back(api, "scripted:limited:120")
    _, longer = await put_back(api, "scripted:limited:3600")

    def pauses() -> list[float]:
        runs = [Run.objects.get(pk=pk) for pk in (shorter, longer)]
        return [
            (run.resume_at - run.outage_since).total_seconds() for run in runs if run.resume_at and run.outage_since
        ]

    first, second = await database.run(pauses)
    assert 100 < first <= 120
    assert second == 600


async def test_a_run_fails_when_its_provider_was_away_for_too_long(api: Client) -> None:
    session, request_id = await put_back(api, "closed:hello")
    await pass_time(request_id, seconds=899)
    run = await database.run(Run.objects.get, pk=request_id)
    await eventually(lambda: not RUNNER.running)
    await pass_time(request_id, seconds=2)
    wire = await api.follow_run(session, request_id)
    assert (wire["status"], wire["error"]["code"], wire["providerWaiting"]) == ("failed", "upstream_error", None)
    assert "GATEWAY_PROVIDER_OUTAGE_SECONDS" in wire["error"]["reason"]
    log = await api.log(session)
    assert [frame.event for frame in log][-2:] == ["error", "agent_abort"]
    assert log[-2].data["retryable"] is True
    assert run.stalled <= 1


@pytest.mark.parametrize("way", ["policy", "setting", "changed"])
async def test_a_session_or_a_gateway_that_does_not_wait_fails_at_once(api: Client, settings: Any, way: str) -> None:
    if way == "setting":
        settings.GATEWAY_PROVIDER_OUTAGE_SECONDS = 0
    fields = {"outagePolicy": "fail"} if way == "policy" else {}
    session = await api.session(model="closed:hello", **fields)
    if way == "changed":
        assert (await api.patch(f"/v1/sessions/{session}", {"outagePolicy": "fail"})).status == 200
    run = await api.run(session, "hello")
    assert (run["status"], run["error"]["code"]) == ("failed", "upstream_error")
    assert "provider_waiting" not in types_without_deltas(await api.log(session))


@pytest.mark.parametrize("policy", ["never", 1])
async def test_an_unknown_policy_is_refused(api: Client, policy: Any) -> None:
    answer = await api.post("/v1/sessions", {"model": "demo:echo", "outagePolicy": policy})
    assert (answer.status, answer.field) == (400, "outagePolicy")


@pytest.mark.parametrize(
    ("model", "code"),
    [("status:400", "bad_request"), ("status:401", "upstream_error"), ("status:501", "upstream_error")],
)
async def test_a_request_that_is_refused_ends_the_run_at_once(api: Client, model: str, code: str) -> None:
    run = await api.run(await api.session(model=f"scripted:{model}"), "hello")
    assert (run["status"], run["error"]["code"]) == ("failed", code)


async def test_a_provider_that_takes_a_request_and_is_silent_is_not_asked_again_and_again(api: Client) -> None:
    run = await api.run(await api.session(model="hasty:hang"), "hello")
    assert (run["status"], run["error"]["code"]) == ("failed", "timeout")


async def test_a_run_that_waits_for_its_provider_is_aborted_at_once(api: Client) -> None:
    session, request_id = await put_back(api, "closed:hello")
    assert (await api.post(f"/v1/sessions/{session}/abort", {})).status == 202
    run = (await api.get(f"/v1/sessions/{session}/runs/{request_id}")).json
    assert (run["status"], run["providerWaiting"]) == ("aborted", None)
    assert (await api.get(f"/v1/sessions/{session}/status")).json["state"] == "idle"
    assert types_without_deltas(await api.log(session))[-1] == "agent_abort"


async def test_steering_and_prompts_join_a_run_that_waits_for_its_provider(api: Client) -> None:
    session, request_id = await put_back(api, "scripted:flaky:503:3")
    assert (await api.post(f"/v1/sessions/{session}/steer", {"text": "and be brief"})).status == 202
    second = (await api.post(f"/v1/sessions/{session}/prompt", {"text": "next"})).json
    assert second["queued"] is True
    await pass_time(request_id)
    assert (await api.follow_run(session, second["requestId"]))["status"] == "completed"
    assert (await api.get(f"/v1/sessions/{session}/runs/{request_id}")).json["status"] == "completed"
    types = types_without_deltas(await api.log(session))
    assert types.index("provider_waiting") < types.index("steering") < types.index("agent_end")


async def test_a_prompt_that_interrupts_takes_the_place_of_a_waiting_run(api: Client) -> None:
    session, request_id = await put_back(api, "closed:hello")
    await api.patch(f"/v1/sessions/{session}", {"outagePolicy": "fail"})
    run = await api.run(session, "now", whenBusy="interrupt")
    assert run["status"] == "failed"
    assert (await api.get(f"/v1/sessions/{session}/runs/{request_id}")).json["status"] == "aborted"


async def test_a_wait_survives_the_process(gateway: GatewayHarness, api: Client) -> None:
    session, request_id = await put_back(api, "scripted:flaky:503:3")
    await gateway.restart()
    assert (await api.get(f"/v1/sessions/{session}/runs/{request_id}")).json["providerWaiting"] is not None
    await pass_time(request_id)
    assert (await api.follow_run(session, request_id))["status"] == "completed"


async def test_the_next_outage_of_a_run_begins_a_wait_of_its_own(api: Client) -> None:
    session, request_id = await put_back(api, "scripted:flaky:503:3")
    await pass_time(request_id, seconds=500)
    await api.follow_run(session, request_id)
    run = await database.run(Run.objects.get, pk=request_id)
    assert (run.outage_since, run.outage_tries, run.outage_reason, run.resume_at) == (None, 0, None, None)


async def test_what_becomes_of_calls_does_not_wake_a_run_that_waits_for_its_provider(api: Client) -> None:
    session, request_id = await put_back(api, "closed:hello")

    def unblock() -> str:
        with database.write_transaction():
            session_unblock(AgentSession.objects.get(public_id=session))
        return Run.objects.get(pk=request_id).state

    assert await database.run(unblock) == RunState.WAITING
    await api.post(f"/v1/sessions/{session}/abort", {})


async def test_waits_for_a_provider_do_not_use_up_the_tenants_waiting_runs(api: Client, settings: Any) -> None:
    settings.GATEWAY_MAX_WAITING_PER_TENANT = 1
    session, _ = await put_back(api, "closed:hello")
    run = await api.run(await api.session(model="scripted:hello"), "hello")
    assert run["status"] == "completed"
    await api.post(f"/v1/sessions/{session}/abort", {})


async def test_a_run_waits_only_when_every_candidate_is_away(api: Client) -> None:
    run = await api.run(await api.session(model="resilient"), "hello")
    assert (run["status"], run["lastMessage"]["content"]) == ("completed", "Hello, world.")


async def test_metrics_count_the_runs_that_wait(api: Client, gateway: GatewayHarness, owner: Caller) -> None:
    session, _ = await put_back(api, "closed:hello")
    page = (await gateway.client(owner).get("/metrics")).body.decode()
    assert "gateway_runs_provider_waiting 1.0" in page
    assert 'gateway_provider_waits_total{outcome="waiting"}' in page
    await api.post(f"/v1/sessions/{session}/abort", {})


def test_an_engine_says_that_its_provider_is_away_by_the_time_to_leave_it_alone() -> None:
    assert Failed("upstream_error", "It rests.", retryable=True).resume_after is None
