"""Tasks: submission, routing, results, failures, cancellation, deadlines, pipelines."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents_app.engine import Failed, Leg, LegOutcome
from agents_app.http_agent import SPACE
from core_app import clock, database
from faces.mesh.models import Task, TaskRun
from faces.mesh.tasks import PipelineStep, TaskRequest, pipeline_submit
from sessions_app.dependents import DEPENDENTS
from sessions_app.models import Run
from tenants_app.key_cache import KEY_CACHE
from tenants_app.models import ApiKey
from tests.conftest import Caller
from tests.faces.mesh.conftest import Script, ended, live, mesh_error, submit
from tests.gateway_harness import Client, GatewayHarness
from tests.scripted_engine import Gate, echo, gated_leg, prompt_of, saying_leg

pytestmark = pytest.mark.django_db(transaction=True)


async def failing(leg: Leg) -> LegOutcome:
    return Failed("upstream_error", "The agent is broken.")


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_a_task_runs_and_has_a_result_and_a_session(api: Client, prefix: str) -> None:
    answer = await api.post(f"{prefix}/tasks", {"payload": {"task": "say hello"}})
    task_id = answer.json["task_id"]
    assert answer.status == 202
    assert answer.json == {"task_id": task_id, "status": "pending", "message": "Task submitted successfully"}
    assert answer.headers["location"] == f"{prefix}/tasks/{task_id}"
    task = await ended(api, task_id)
    assert (task["status"], task["assigned_agents"], task["result"]) == ("completed", ["one"], "say hello ")
    assert task["error"] is None
    (session,) = task["session_ids"]
    assert (await api.get(f"/v1/sessions/{session}")).json["agent"] == "one"
    assert (await api.get(f"{prefix}/tasks/{task_id}")).json == task


async def test_live_events_tell_of_each_step(api: Client, script: Script) -> None:
    script.by_agent["one"] = saying_leg("one ", "two")
    async with live(api) as reader:
        task_id = await submit(api, "count", options={"stream": True})
        frames = [await reader.next()]
        while frames[-1].event != "task.completed":
            frames.append(await reader.next())
    types = [frame.event for frame in frames]
    assert types[:3] == ["task.submitted", "task.assigned", "task.started"]
    assert set(types[3:-1]) == {"task.progress"}
    assert "".join(frame.data["delta"] for frame in frames[3:-1]) == "one two"
    assert {frame.data["task_id"] for frame in frames} == {task_id}
    assert all(isinstance(frame.data["timestamp"], int) for frame in frames)
    assert {frame.data.get("agent_id") for frame in frames[1:]} == {"one"}
    assert frames[-1].data["result"] == "one two"


async def test_without_the_option_there_is_no_progress(api: Client) -> None:
    async with live(api) as reader:
        await submit(api, "count to three")
        types = [(await reader.next()).event for _ in range(4)]
    assert types == ["task.submitted", "task.assigned", "task.started", "task.completed"]


async def test_a_target_is_honoured_and_an_unknown_one_refused(api: Client) -> None:
    task = await ended(api, await submit(api, "code review please", target="two"))
    assert task["assigned_agents"] == ["two"]
    refused = await api.post("/tasks", {"target": "nobody", "payload": {"task": "x"}})
    assert mesh_error(refused) == (404, "AGENT_NOT_FOUND")


@pytest.mark.parametrize("target", ["gateway", "", None])
async def test_the_gateway_as_target_means_route_it(api: Client, target: str | None) -> None:
    task = await ended(api, await submit(api, "请做代码审查", target=target))
    assert task["assigned_agents"] == ["echo"]


async def test_required_capabilities_choose_the_agent(api: Client) -> None:
    wanted = {"capabilities": ["echo", "code-review"]}
    task = await ended(api, await submit(api, "anything at all", options=wanted))
    assert task["assigned_agents"] == ["echo"]
    nobody = await api.post("/tasks", {"payload": {"task": "x", "options": {"capabilities": ["flying"]}}})
    assert mesh_error(nobody) == (503, "NO_AGENT_AVAILABLE")


async def test_an_agents_failure_is_a_failed_task(api: Client, script: Script) -> None:
    script.by_agent["one"] = failing
    async with live(api) as reader:
        task = await ended(api, await submit(api, "x"))
        failed = await reader.next_of("task.failed")
    assert (task["status"], task["result"]) == ("failed", None)
    assert task["error"] == {"code": "EXECUTION_ERROR", "message": "The agent is broken."}
    assert failed.data["error"] == task["error"]


async def test_an_agent_that_cannot_be_served_is_a_failed_task(api: Client) -> None:
    task = await ended(api, await submit(api, "x", target="absent"))
    assert (task["status"], task["error"]["code"], task["session_ids"]) == ("failed", "EXECUTION_ERROR", [])


async def test_a_broadcast_has_a_result_per_agent(api: Client, script: Script) -> None:
    script.by_agent |= {"one": saying_leg("1"), "two": failing}
    task = await ended(api, await submit(api, "Everybody: count"))
    assert (task["status"], task["partial"], task["assigned_agents"]) == ("completed", True, ["one", "two"])
    assert task["result"]["one"] == "1"
    assert task["result"]["two"] == {"error": {"code": "EXECUTION_ERROR", "message": "The agent is broken."}}
    assert len(task["session_ids"]) == 2


async def test_a_broadcast_in_which_all_fail_is_failed(api: Client, script: Script) -> None:
    script.by_agent |= {"one": failing, "two": failing}
    task = await ended(api, await submit(api, "everybody"))
    assert (task["status"], task["error"]["code"]) == ("failed", "TASK_FAILED")


async def test_a_given_id_is_the_tasks_id_and_the_same_again_returns_it(
    api: Client, gateway: GatewayHarness, stranger: Caller, script: Script
) -> None:
    assert await submit(api, "first", id="mine-1") == "mine-1"
    assert await submit(api, "second", id="mine-1") == "mine-1"
    await submit(gateway.client(stranger), "theirs", id="mine-1")
    assert (await ended(api, "mine-1"))["result"] == "first "
    assert script.begun <= 2
    assert len((await api.get("/tasks")).json) == 1


async def test_cancel_stops_the_run(api: Client, script: Script) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    task_id = await submit(api, "x")
    await gate.arrival()
    assert (await api.get(f"/tasks/{task_id}")).json["status"] == "running"
    async with live(api) as reader:
        cancelled = await api.post(f"/tasks/{task_id}/cancel")
        assert (cancelled.status, cancelled.json) == (200, {"task_id": task_id, "status": "cancelled"})
        assert (await reader.next_of("task.failed")).data["error"]["code"] == "CANCELLED"
    task = (await api.get(f"/tasks/{task_id}")).json
    assert task["error"]["code"] == "CANCELLED"
    (run,) = (await api.get(f"/v1/sessions/{task['session_ids'][0]}/runs")).json["runs"]
    assert run["status"] == "aborted"
    gate.open()
    assert mesh_error(await api.post(f"/tasks/{task_id}/cancel")) == (409, "CONFLICT")


async def test_a_run_that_is_aborted_cancels_its_task(api: Client, script: Script) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    task_id = await submit(api, "x")
    await gate.arrival()
    session = (await api.get(f"/tasks/{task_id}")).json["session_ids"][0]
    await api.post(f"/v1/sessions/{session}/abort")
    assert (await ended(api, task_id))["status"] == "cancelled"
    gate.open()


async def test_a_deadline_ends_the_task_and_its_run(api: Client, script: Script) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    task_id = await submit(api, "x", options={"timeout": 60})
    await gate.arrival()

    def pass_deadline() -> None:
        with database.write_transaction():
            Task.objects.update(deadline_at=clock.now() - timedelta(seconds=1))
        DEPENDENTS.sweep(lambda: True)

    await database.run(pass_deadline)
    task = await ended(api, task_id)
    assert (task["status"], task["error"]["code"]) == ("failed", "TIMEOUT")
    assert (await database.run(lambda: Run.objects.get().end_reason)) == "timeout"
    gate.open()


async def test_a_pipeline_gives_each_output_to_the_next_step(api: Client, script: Script) -> None:
    said: list[str] = []

    async def adding(leg: Leg) -> LegOutcome:
        said.append(prompt_of(leg))
        return await saying_leg(f"{leg.session.agent} did it")(leg)

    script.by_agent |= {"one": adding, "two": adding}
    steps = [{"agentId": "one", "prompt": "Write:"}, {"agentId": "two"}, {"agentId": "one", "prompt": "Check:"}]
    answer = await api.post("/pipeline", {"steps": steps, "input": "a poem"})
    assert answer.status == 202
    tasks = [await ended(api, task_id) for task_id in answer.json["task_ids"]]
    assert [task["status"] for task in tasks] == ["completed"] * 3
    assert said == ["Write:\n\na poem", "one did it", "Check:\n\ntwo did it"]
    assert {task["pipeline_id"] for task in tasks} == {answer.json["pipeline_id"]}


async def test_a_pipeline_stops_at_the_first_error(api: Client, script: Script) -> None:
    script.by_agent["two"] = failing
    steps = [{"agentId": "one"}, {"agentId": "two"}, {"agentId": "one"}]
    answer = await api.post("/v1/pipeline", {"steps": steps, "input": "x"})
    tasks = [await ended(api, task_id) for task_id in answer.json["task_ids"]]
    assert [task["status"] for task in tasks] == ["completed", "failed", "cancelled"]
    unknown = await api.post("/pipeline", {"steps": [{"agentId": "nobody"}], "input": "x"})
    assert mesh_error(unknown) == (404, "AGENT_NOT_FOUND")


async def test_cancelling_a_step_cancels_the_steps_after_it(api: Client, script: Script) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    steps = [{"agentId": "one"}, {"agentId": "two"}]
    first, second = (await api.post("/pipeline", {"steps": steps, "input": "x"})).json["task_ids"]
    await gate.arrival()
    await api.post(f"/tasks/{first}/cancel")
    assert (await api.get(f"/tasks/{second}")).json["status"] == "cancelled"
    gate.open()


async def test_a_step_does_not_start_for_a_revoked_key(api: Client, script: Script, owner: Caller) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    steps = [{"agentId": "one"}, {"agentId": "two"}]
    await api.post("/pipeline", {"steps": steps, "input": "x"})
    await gate.arrival()

    def revoke() -> None:
        with database.write_transaction():
            ApiKey.objects.update(revoked_at=clock.now())
        KEY_CACHE.clear()

    await database.run(revoke)
    gate.open()

    def statuses() -> list[str]:
        return list(Task.objects.order_by("pk").values_list("status", flat=True))

    while "pending" in await database.run(statuses):
        pass
    assert await database.run(statuses) == ["completed", "failed"]


async def test_a_later_step_acts_for_the_end_user_too(api: Client, owner: Caller) -> None:
    def act() -> list[str]:
        principal = replace(owner.principal, end_user="u-1", key_id=None, guest="jwt")
        steps = [PipelineStep("one"), PipelineStep("two")]
        _, tasks = pipeline_submit(principal=principal, steps=steps, text="x", request=TaskRequest(text=""))
        return [task.public_id for task in tasks]

    for task_id in await database.run(act):
        assert (await ended(api, task_id))["status"] == "completed"
    assert await database.run(lambda: list(Run.objects.values_list("end_user", flat=True))) == ["u-1", "u-1"]


async def test_an_agent_is_told_the_space_of_its_task(api: Client, script: Script) -> None:
    seen: list[object] = []

    async def look(leg: Leg) -> LegOutcome:
        seen.append(leg.run.metadata.get(SPACE))
        return await echo(leg)

    script.by_agent["one"] = look
    space = (await api.post("/spaces", {})).json["space_id"]
    await ended(api, await submit(api, "x", context={"shared_space_id": space}))
    await ended(api, await submit(api, "x"))
    assert seen == [space, None]


async def test_the_session_of_a_task_that_streams_keeps_its_progress(api: Client, script: Script) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    task_id = await submit(api, "x", options={"stream": True})
    await gate.arrival()
    session = f"/v1/sessions/{(await api.get(f'/tasks/{task_id}')).json['session_ids'][0]}"
    async with live(api) as reader:
        assert (await api.patch(session, {"groupId": "elsewhere"})).status == 409
        assert (await api.patch(session, {"groupId": None})).status == 200
        gate.open()
        await reader.next_of("task.progress")
        await reader.next_of("task.completed")
    assert (await api.patch(session, {"groupId": "elsewhere"})).status == 200


async def test_tasks_survive_a_restart(api: Client, gateway: GatewayHarness, script: Script) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    task_id = await submit(api, "x")
    await gate.arrival()
    await gateway.restart()
    script.by_agent["one"] = saying_leg("done after all")
    assert (await ended(api, task_id))["result"] == "done after all"


async def test_a_task_whose_session_is_erased_is_cancelled(api: Client, script: Script) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    task_id = await submit(api, "x")
    await gate.arrival()
    session = (await api.get(f"/tasks/{task_id}")).json["session_ids"][0]
    await api.delete(f"/v1/sessions/{session}?purge=true")
    assert (await ended(api, task_id))["status"] == "cancelled"
    gate.open()


async def test_a_part_whose_run_ended_unseen_is_reconciled(api: Client) -> None:
    task_id = await submit(api, "x")
    await ended(api, task_id)

    def forget() -> None:
        with database.write_transaction():
            TaskRun.objects.update(ended=False, output=None)
            Task.objects.update(status="running", result=None)
        DEPENDENTS.sweep(lambda: True)

    await database.run(forget)
    assert (await api.get(f"/tasks/{task_id}")).json["result"] == "x "


async def test_lists_are_arrays_with_the_next_page_in_a_header(api: Client) -> None:
    ids = [await submit(api, "x") for _ in range(3)]
    page = await api.get("/tasks?limit=2")
    assert [task["id"] for task in page.json] == ids[:0:-1]
    assert set(page.json[0]) == {"id", "status", "assigned_agents", "created_at", "updated_at"}
    following = page.headers["link"].partition(">")[0].removeprefix("<")
    rest = await api.get(following)
    assert [task["id"] for task in rest.json] == ids[:1]
    assert "link" not in rest.headers
    assert (await api.get("/tasks?agent=two")).json == []
    assert len((await api.get("/tasks?agent=one")).json) == 3
    assert mesh_error(await api.get("/tasks?status=lost")) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"payload": {}},
        {"payload": {"task": ""}},
        {"payload": {"task": "  "}},
        {"payload": {"task": 1}},
        {"payload": {"task": "x", "options": {"timeout": 0}}},
        {"payload": {"task": "x", "files": ["a.txt"]}},
        {"id": "no spaces", "payload": {"task": "x"}},
        {"id": ".", "payload": {"task": "x"}},
        {"id": "..", "payload": {"task": "x"}},
        {"type": "event", "payload": {"task": "x"}},
    ],
)
async def test_a_bad_body_is_refused(api: Client, body: object) -> None:
    assert mesh_error(await api.post("/tasks", body)) == (400, "INVALID_REQUEST")


async def test_the_limit_of_unfinished_tasks(api: Client, script: Script, settings: object) -> None:
    settings.GATEWAY_MAX_TASKS_PER_TENANT = 1  # type: ignore[attr-defined]
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    task_id = await submit(api, "x")
    assert mesh_error(await api.post("/tasks", {"payload": {"task": "y"}})) == (429, "RATE_LIMITED")
    await api.post(f"/tasks/{task_id}/cancel")
    gate.open()
    await submit(api, "y")


async def test_tasks_that_end_start_and_are_cancelled_at_once_do_not_block_each_other(
    api: Client, script: Script
) -> None:
    async def submit_and_end(number: int) -> str:
        if number % 5 == 0:
            await api.post("/agents", {"id": f"agent-{number}", "type": "model", "model": "demo:echo"})
        if number % 3 == 0:
            steps = [{"agentId": "one"}, {"agentId": "two"}, {"agentId": "echo"}]
            body = {"steps": steps, "input": "x", "options": {"stream": True}}
            answer = await api.post("/pipeline", body)
            task_id = str(answer.json["task_ids"][-1])
        else:
            task_id = await submit(api, "everybody", options={"stream": number % 2 == 0})
        if number % 4 == 0:
            cancelled = await api.post(f"/tasks/{task_id}/cancel")
            assert cancelled.status in (200, 409), cancelled.body
        return str((await ended(api, task_id))["status"])

    statuses = await asyncio.gather(*map(submit_and_end, range(24)))
    assert set(statuses) <= {"completed", "cancelled"}
    assert statuses.count("completed") >= 18


def test_the_sweep_reads_no_ended_tasks(db: None) -> None:
    with CaptureQueriesContext(connection) as queries:
        DEPENDENTS.sweep(lambda: True)
    if connection.vendor == "sqlite":
        selects = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
        with connection.cursor() as cursor:
            for statement in selects:
                cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
                plan = " ".join(str(row[-1]) for row in cursor.fetchall())
                assert "SCAN mesh_task" not in plan or "USING INDEX task_run_open" in plan, (statement, plan)
                assert "SCAN mesh_storedfile" not in plan, plan
