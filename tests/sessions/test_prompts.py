"""Prompts and runs over REST: acceptance, queueing, refusal, steering, interruption, waiting and abort."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from agents_app.engine import Leg, LegOutcome
from core_app import database
from events_app.lease import lease_claim
from sessions_app.legs.start import leg_start
from sessions_app.legs.sweep import sessions_with_work
from sessions_app.models import AgentSession, Run
from sessions_app.services import run_wait
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.wakeup import WAKEUPS
from tests.conftest import Caller
from tests.gateway_harness import Client, eventually
from tests.scripted_engine import Gate, ScriptedEngine, gated_leg, saying_leg

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def busy(api: Client, script: ScriptedEngine) -> tuple[str, str, Gate]:
    """A session whose first run waits at a gate."""
    gate = Gate()
    script.legs = [gated_leg(gate)]
    session = await api.session()
    request_id = await api.prompt(session, "first")
    await gate.arrival()
    return session, request_id, gate


@pytest.fixture
async def accepted(api: Client, script: ScriptedEngine, settings: Any) -> tuple[str, str, Gate]:
    """A session whose first run is accepted but not started, because another one occupies the only slot."""
    settings.GATEWAY_MAX_RUNS = 1
    gate = Gate()
    script.legs = [gated_leg(gate)]
    await api.prompt(await api.session(), "elsewhere")
    await gate.arrival()
    session = await api.session()
    return session, await api.prompt(session, "first"), gate


async def test_an_accepted_prompt_says_whether_it_waits(api: Client, busy: tuple[str, str, Gate]) -> None:
    session, first, gate = busy
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "second", "whenBusy": "enqueue"})
    assert answer.status == 202
    assert set(answer.json) == {"requestId", "sessionId", "queued"}
    assert answer.json["queued"] is True
    gate.open()
    assert (await api.follow_run(session, answer.json["requestId"]))["status"] == "completed"
    received = [frame.data for frame in await api.log(session) if frame.event == "prompt_received"]
    assert [(data["text"], data["queued"]) for data in received] == [("first", False), ("second", True)]
    ends = [frame.data["requestId"] for frame in await api.log(session) if frame.event == "agent_end"]
    assert ends == [first, answer.json["requestId"]]


async def test_a_busy_session_rejects_when_asked_to(api: Client, busy: tuple[str, str, Gate]) -> None:
    session, first, gate = busy
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "second", "whenBusy": "reject"})
    assert answer.error == (409, "conflict")
    gate.open()
    await api.follow_run(session, first)
    assert len((await api.get(f"/v1/sessions/{session}/runs")).json["runs"]) == 1


async def test_an_interrupt_aborts_what_runs_and_goes_before_what_waits(
    api: Client, busy: tuple[str, str, Gate]
) -> None:
    session, first, _ = busy
    second = await api.prompt(session, "second")
    third = await api.prompt(session, "third", whenBusy="interrupt")
    assert (await api.follow_run(session, third))["status"] == "completed"
    assert (await api.follow_run(session, second))["status"] == "completed"
    run = (await api.get(f"/v1/sessions/{session}/runs/{first}")).json
    assert (run["status"], run["endReason"]) == ("aborted", "aborted")
    starts = [frame.data["requestId"] for frame in await api.log(session) if frame.event == "agent_start"]
    assert starts == [first, third, second]


async def test_an_interrupt_ends_what_a_waiting_run_waits_for(api: Client) -> None:
    session = await api.session(model="demo:tour")
    async with api.events(session) as reader:
        first = await api.prompt(session, "approve")
        await reader.next_of("approval_required")
        second = await api.prompt(session, "hello", whenBusy="interrupt")
        frames = await reader.read_to_end()
    kinds = [frame.event for frame in frames]
    assert kinds[-3:] == ["approval_resolved", "tool_execution_end", "agent_abort"]
    assert frames[-2].data["status"] == "rejected"
    assert frames[-1].data["requestId"] == first
    assert (await api.follow_run(session, second))["status"] == "completed"


async def test_an_interrupt_aborts_a_run_that_was_accepted_and_is_not_begun(
    api: Client, accepted: tuple[str, str, Gate]
) -> None:
    session, first, gate = accepted
    second = await api.prompt(session, "second")
    third = await api.prompt(session, "third", whenBusy="interrupt")
    gate.open()
    assert (await api.follow_run(session, third))["status"] == "completed"
    assert (await api.follow_run(session, second))["status"] == "completed"
    run = (await api.get(f"/v1/sessions/{session}/runs/{first}")).json
    assert (run["status"], run["endReason"], run["startedAt"]) == ("aborted", "aborted", None)
    starts = [frame.data["requestId"] for frame in await api.log(session) if frame.event == "agent_start"]
    assert starts == [third, second]


async def test_steering_joins_a_run_that_was_accepted_and_is_not_begun(
    api: Client, accepted: tuple[str, str, Gate], script: ScriptedEngine
) -> None:
    session, first, gate = accepted
    heard: list[str] = []

    async def wait_for_steering(leg: Leg) -> LegOutcome:
        heard.extend(await leg.take_steering())
        return await saying_leg("ok")(leg)

    script.behaviour = wait_for_steering
    steered = await api.post(f"/v1/sessions/{session}/steer", {"text": "now"})
    assert (steered.status, steered.json["requestId"]) == (202, first)
    prompted = await api.post(f"/v1/sessions/{session}/prompt", {"text": "also", "whenBusy": "steer"})
    assert (prompted.status, prompted.json["requestId"], prompted.json["queued"]) == (202, first, False)
    gate.open()
    assert (await api.follow_run(session, first))["status"] == "completed"
    assert heard == ["now", "also"]
    assert len((await api.get(f"/v1/sessions/{session}/runs")).json["runs"]) == 1


async def test_a_prompt_can_steer_the_run_that_is_under_way(api: Client, busy: tuple[str, str, Gate]) -> None:
    session, first, gate = busy
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "also", "whenBusy": "steer"})
    assert (answer.status, answer.json["requestId"], answer.json["queued"]) == (202, first, False)
    gate.open()


async def test_steering_an_idle_session_by_prompt_is_a_prompt(api: Client) -> None:
    session = await api.session()
    run = await api.run(session, "hello", whenBusy="steer")
    assert run["status"] == "completed"
    assert (await api.post(f"/v1/sessions/{session}/steer", {"text": "now"})).error == (409, "conflict")


async def test_a_prompt_with_attachments_cannot_steer(api: Client, busy: tuple[str, str, Gate]) -> None:
    session, _, gate = busy
    part = {"type": "image", "mediaType": "image/png", "data": "iVBORw0KGgo="}
    body = {"text": "see", "whenBusy": "steer", "attachments": [part]}
    answer = await api.post(f"/v1/sessions/{session}/prompt", body)
    assert (answer.status, answer.field) == (409, "attachments")
    gate.open()


async def test_a_full_queue_is_answered_429(api: Client, busy: tuple[str, str, Gate], settings: Any) -> None:
    settings.GATEWAY_MAX_QUEUED_PROMPTS = 2
    session, _, gate = busy
    queued = [await api.prompt(session, "more") for _ in range(2)]
    for when in ("enqueue", "interrupt"):
        answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "too much", "whenBusy": when})
        assert answer.error == (429, "queue_full")
    assert (await api.get(f"/v1/sessions/{session}/status")).json["state"] == "working"
    gate.open()
    for request_id in queued:
        assert (await api.follow_run(session, request_id))["status"] == "completed"


async def test_a_run_takes_only_so_many_texts_that_wait_to_join_it(api: Client, settings: Any) -> None:
    settings.GATEWAY_MAX_QUEUED_PROMPTS = 2
    session = await api.session(model="demo:tour")
    async with api.events(session) as reader:
        request_id = await api.prompt(session, "approve")
        approval = await reader.next_of("approval_required")
        paths = {"steer": {"text": "more"}, "prompt": {"text": "more", "whenBusy": "steer"}}
        for path, body in paths.items():
            assert (await api.post(f"/v1/sessions/{session}/{path}", body)).status == 202
        for path, body in paths.items():
            assert (await api.post(f"/v1/sessions/{session}/{path}", body)).error == (429, "queue_full")
        body = {"approvalId": approval.data["approvalId"]}
        assert (await api.post(f"/v1/sessions/{session}/approve", body)).status == 200
        assert (await api.follow_run(session, request_id))["status"] == "completed"
        kinds = [frame.event for frame in await reader.read_to_end()]
    assert kinds.count("steering") == 2


async def test_a_prompt_that_is_waited_for_is_answered_with_its_end(api: Client) -> None:
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/prompt?wait=60", {"text": "hello"})
    assert answer.status == 200
    assert answer.json["lastMessage"] == {"role": "assistant", "content": "hello"}
    assert answer.json["status"] == "completed"


async def test_a_wait_that_is_too_short_is_answered_202(api: Client, busy: tuple[str, str, Gate]) -> None:
    session, _, gate = busy
    answer = await api.post(f"/v1/sessions/{session}/prompt?wait=0.01", {"text": "second"})
    assert answer.status == 202
    gate.open()
    assert (await api.follow_run(session, answer.json["requestId"]))["status"] == "completed"


async def test_a_wait_whose_run_is_erased_meanwhile_is_answered_202(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_get = run_wait._run_get

    def erased_then(run_id: str) -> Any:
        Run.objects.filter(pk=run_id).delete()
        return run_get(run_id)

    session = await api.session()
    monkeypatch.setattr(run_wait, "_run_get", erased_then)
    answer = await api.post(f"/v1/sessions/{session}/prompt?wait=5", {"text": "hello"})
    assert (answer.status, answer.json["sessionId"]) == (202, session)
    assert await run_wait.run_wait(run_id=answer.json["requestId"], seconds=5) is None
    await api.delete(f"/v1/sessions/{session}?purge=true")


async def test_more_waits_than_request_threads_hold_nobody_up(
    api: Client, script: ScriptedEngine, settings: Any
) -> None:
    gate = Gate()
    script.behaviour = gated_leg(gate)
    sessions = [await api.session() for _ in range(settings.GATEWAY_REQUEST_THREADS + 2)]
    async with asyncio.TaskGroup() as group:
        waits = [
            group.create_task(api.post(f"/v1/sessions/{session}/prompt?wait=60", {"text": "wait"}))
            for session in sessions
        ]
        await eventually(lambda: script.begun == len(sessions))
        assert (await api.get(f"/v1/sessions/{sessions[0]}")).json["state"] == "working"
        gate.open()
    assert {wait.result().status for wait in waits} == {200}


async def test_an_abort_ends_what_runs_at_once_and_the_next_prompt_begins(
    api: Client, busy: tuple[str, str, Gate]
) -> None:
    session, first, _ = busy
    second = await api.prompt(session, "second")
    answer = await api.post(f"/v1/sessions/{session}/abort", {"reason": "enough"})
    assert answer.status == 202
    assert answer.json == {"requestId": first, "sessionId": session, "status": "aborted"}
    assert (await api.follow_run(session, second))["status"] == "completed"
    (abort,) = [frame.data for frame in await api.log(session) if frame.event == "agent_abort"]
    assert (abort["requestId"], abort["reason"], abort["message"]) == (first, "aborted", "enough")


async def test_an_abort_ends_a_run_that_was_accepted_and_is_not_begun(
    api: Client, accepted: tuple[str, str, Gate]
) -> None:
    session, first, gate = accepted
    answer = await api.post(f"/v1/sessions/{session}/abort")
    assert (answer.status, answer.json["requestId"]) == (202, first)
    assert (await api.get(f"/v1/sessions/{session}")).json["state"] == "idle"
    gate.open()
    assert [frame.event for frame in await api.log(session)] == ["prompt_received", "agent_abort"]


async def test_a_queued_run_is_withdrawn(api: Client, busy: tuple[str, str, Gate]) -> None:
    session, first, gate = busy
    second = await api.prompt(session, "second")
    assert (await api.post(f"/v1/sessions/{session}/runs/{second}/abort")).status == 202
    gate.open()
    assert (await api.follow_run(session, first))["status"] == "completed"
    run = (await api.get(f"/v1/sessions/{session}/runs/{second}")).json
    assert (run["status"], run["startedAt"], run["turns"]) == ("aborted", None, 0)
    assert (await api.post(f"/v1/sessions/{session}/runs/{second}/abort")).error == (409, "conflict")


async def test_a_waiting_run_is_aborted_with_its_approval(api: Client) -> None:
    session = await api.session(model="demo:tour")
    async with api.events(session) as reader:
        await api.prompt(session, "approve")
        approval = await reader.next_of("approval_required")
        assert (await api.post(f"/v1/sessions/{session}/abort")).status == 202
        assert (await reader.read_to_end())[-1].event == "agent_abort"
    late = await api.post(f"/v1/sessions/{session}/approve", {"approvalId": approval.data["approvalId"]})
    assert late.status in (409, 410)
    assert (await api.get(f"/v1/sessions/{session}")).json["state"] == "idle"


async def test_nothing_to_abort_is_a_conflict(api: Client) -> None:
    session = await api.session()
    assert (await api.post(f"/v1/sessions/{session}/abort")).error == (409, "conflict")
    run = await api.run(session, "hello")
    assert (await api.post(f"/v1/sessions/{session}/abort")).error == (409, "conflict")
    path = f"/v1/sessions/{session}/runs/{run['requestId']}/abort"
    assert (await api.post(path)).error == (409, "conflict")
    assert (await api.post(f"/v1/sessions/{session}/runs/run_none/abort")).error == (404, "not_found")


async def test_runs_are_listed_newest_first_with_what_they_were_given(api: Client) -> None:
    session = await api.session()
    made = [await api.run(session, f"{number}", endUser="ann", metadata={"n": number}) for number in range(3)]
    page = (await api.get(f"/v1/sessions/{session}/runs?limit=2")).json
    rest = (await api.get(f"/v1/sessions/{session}/runs?limit=2&cursor={page['nextCursor']}")).json
    assert page["runs"] + rest["runs"] == made[::-1]
    assert rest["nextCursor"] is None
    assert (made[2]["endUser"], made[2]["metadata"]) == ("ann", {"n": 2})


async def test_a_switched_model_is_announced_and_used(api: Client) -> None:
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/switch_model", {"model": "demo:tour"})
    assert answer.status == 202
    run = await api.run(session, "hello")
    assert "demo" in run["lastMessage"]["content"]
    (switched,) = [frame.data for frame in await api.log(session) if frame.event == "model_switched"]
    assert (switched["previous"], switched["model"]) == ("demo:echo", "demo:tour")
    assert (await api.post(f"/v1/sessions/{session}/switch_model", {"model": "demo:none"})).status == 422


async def test_the_text_of_a_large_prompt_is_whole_though_its_event_is_cut(api: Client, script: ScriptedEngine) -> None:
    script.behaviour = saying_leg("ok")
    text = "漢" * 200_000
    session = await api.session()
    await api.run(session, text)
    messages = (await api.get(f"/v1/sessions/{session}/messages")).json["messages"]
    assert messages[0]["content"] == text
    event = (await api.log(session))[0].data
    assert event["truncated"] is True
    assert text.startswith(event["text"])


async def test_a_large_answer_keeps_the_shape_of_its_terminal_event(api: Client, script: ScriptedEngine) -> None:
    text = "漢" * 200_000
    script.behaviour = saying_leg(text)
    session = await api.session()
    run = await api.run(session, "go")
    assert run["lastMessage"]["content"] == text
    end = (await api.log(session))[-1]
    assert end.event == "agent_end"
    assert end.data["truncated"] is True
    assert end.data["lastMessage"]["role"] == "assistant"
    assert text.startswith(end.data["lastMessage"]["content"])
    assert set(end.data["tokenUsage"]) >= {"promptTokens", "totalTokens"}


@pytest.mark.parametrize("order", list(itertools.permutations(["prompt", "release", "sweep"])), ids="-".join)
async def test_no_order_of_prompt_release_and_sweep_loses_a_wake_up(
    api: Client, owner: Caller, script: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    """A holder releases its lease, a prompt comes and the sweep looks, in every order. The prompt is always found."""
    session = await api.session()
    told: list[Any] = []
    listener = WAKEUPS.listener
    monkeypatch.setattr(WAKEUPS, "listener", told.append)

    def perform_steps() -> bool:
        row = AgentSession.objects.get(public_id=session)
        fence = lease_claim(stream_id=row.stream_id, owner="holder", seconds=60)
        assert fence is not None
        began: list[Any] = []
        found: list[Any] = []
        for step in order:
            if step == "prompt":
                prompt_accept(principal=owner.principal, public_id=session, prompt=Prompt(text="go"))
            elif step == "release":
                began.append(leg_start(session_id=row.pk, fence=fence))
            else:
                found += sessions_with_work()
        return bool(told or found or any(began))

    assert await database.run(perform_steps)
    run = await database.run(lambda: Run.objects.get(session__public_id=session))
    monkeypatch.setattr(WAKEUPS, "listener", listener)
    if run.state == "queued":
        assert listener is not None
        listener(told[-1])
    else:
        # The holder started it and is gone. As after a crash, the lease expires and the sweep finds the run.
        from events_app.models import Stream

        await database.run(lambda: Stream.objects.filter(owner="holder").update(lease_expires=1.0))
        for work in await database.run(sessions_with_work):
            WAKEUPS.notify(work)
    assert (await api.follow_run(session, run.pk))["status"] == "completed"
