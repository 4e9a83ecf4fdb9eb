"""Every model request of a run is in the ledger once: answered, aborted, broken, timed out or refused by the fence."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from core_app import database
from events_app.lease import LeaseLost
from gateway_project.operations import doctor
from inference_app.spend import metering
from inference_app.spend.budgets import BUDGETS, BudgetRule
from inference_app.spend.metering import METER
from sessions_app.legs import checkpoints
from sessions_app.legs import leg as legs
from sessions_app.legs.requests import run_names
from sessions_app.services.erasure import session_erase
from tenants_app.ledger_kinds import OPEN_KINDS
from tenants_app.models import LedgerEntry, Tenant
from tests.gateway_harness import Client, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_budgets() -> Iterator[None]:
    yield
    BUDGETS.rules_replace([])


async def ledger() -> list[LedgerEntry]:
    await METER.flush()
    return await database.run(lambda: list(LedgerEntry.objects.order_by("response_no")))


async def streaming(api: Client, session: str, text: str = "hello", **fields: Any) -> str:
    """Sends a prompt and waits for the beginning of its answer."""
    run = await api.prompt(session, text, **fields)
    async with asyncio.timeout(20):
        while not any(frame.event == "message_delta" for frame in await api.log(session)):
            pass
    return run


async def abort(api: Client, session: str) -> None:
    assert (await api.post(f"/v1/sessions/{session}/abort")).status in (200, 202)
    await eventually(lambda: not (METER._running or METER._open))


async def test_an_aborted_answer_is_paid_as_far_as_it_came(api: Client) -> None:
    session = await api.session(model="scripted:slow:5")
    run = await streaming(api, session, endUser="u-1")
    await abort(api, session)
    (entry,) = await ledger()
    assert (entry.run_id, entry.kind, entry.session_ref, entry.end_user) == (run, "session_estimate", session, "u-1")
    assert entry.input_tokens > 0
    assert entry.output_tokens > 0
    (row,) = (await api.get("/v1/usage")).json["usage"]
    assert (row["turns"], row["estimatedTurns"]) == (1, 1)
    level, text = await database.run(doctor.check_ledger)
    assert level == "ok", text


async def test_an_answer_that_breaks_off_is_paid_and_its_run_has_none(api: Client) -> None:
    session = await api.session(model="scripted:drop:2")
    run = await api.run(session, "hello")
    (entry,) = await ledger()
    assert (run["status"], run["turns"], entry.kind) == ("failed", 0, "session_estimate")
    assert entry.output_tokens > 0


@pytest.mark.parametrize("model", ["status:500", "status:400", "limited:60"])
async def test_a_request_that_the_provider_refuses_costs_nothing(api: Client, model: str) -> None:
    await api.run(await api.session(model=f"scripted:{model}", outagePolicy="fail"), "hello")
    assert await ledger() == []


async def test_a_running_answer_is_in_the_ledger_before_it_ends_and_once_after(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "OPEN_SECONDS", 0.0)
    session = await api.session(model="scripted:slow:5:100")
    run = await streaming(api, session)
    await METER.open_rows_write()
    (entry,) = await ledger()
    assert (entry.kind in OPEN_KINDS, entry.session_ref, entry.output_tokens > 0) == (True, session, True)
    assert (await api.follow_run(session, run))["status"] == "completed"
    (final,) = await ledger()
    assert (final.pk, final.kind) == (entry.pk, "session")
    assert final.output_tokens != entry.output_tokens
    await METER.open_rows_write()
    assert [row.kind for row in await ledger()] == ["session"]


async def test_a_complete_answer_whose_checkpoint_is_refused_is_paid_as_reported(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise LeaseLost

    session = await api.session(model="scripted:hello")
    monkeypatch.setattr(legs, "completion_checkpoint", refuse)
    await api.prompt(session, "hello")
    await eventually(lambda: METER.gathered)
    (entry, *_) = await ledger()
    assert (entry.kind, entry.output_tokens) == ("session", 7)
    monkeypatch.undo()
    await abort(api, session)


async def test_an_answer_that_was_committed_is_not_counted_again_by_the_meter(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit's outcome did not come back to the leg."""
    commit = checkpoints.completion_checkpoint

    def commit_silently(*args: Any) -> None:
        commit(*args)
        raise LeaseLost

    session = await api.session(model="scripted:hello")
    monkeypatch.setattr(legs, "completion_checkpoint", commit_silently)
    await api.prompt(session, "hello")
    await eventually(lambda: METER.gathered)
    monkeypatch.undo()
    assert [entry.kind for entry in await ledger()] == ["session"]


async def test_a_run_of_a_closed_session_has_no_name_for_the_ledger(api: Client) -> None:
    """An erasure closes the session, removes its name from the ledger, and only then its runs."""
    session = await api.session(model="scripted:hello")
    run = await api.run(session, "hello", endUser="u-1")
    assert await database.run(run_names, [run["requestId"]]) == {run["requestId"]: (session, "u-1")}
    assert (await api.delete(f"/v1/sessions/{session}")).status in (200, 204)
    assert await database.run(run_names, [run["requestId"]]) == {}


async def test_an_erased_session_comes_back_in_no_row_of_the_ledger(api: Client) -> None:
    session = await api.session(model="scripted:slow:5")
    await streaming(api, session, endUser="u-1")
    tenant = await database.run(lambda: Tenant.objects.get(slug="acme").pk)
    await database.run(lambda: session_erase(tenant_id=tenant, public_id=session, actor="test"))
    await eventually(lambda: not (METER._running or METER._open))
    (entry,) = await ledger()
    assert (entry.session_ref, entry.end_user) == ("", None)


async def test_runs_at_once_reserve_what_they_may_spend(api: Client) -> None:
    tenant = await database.run(lambda: Tenant.objects.get(slug="acme").pk)
    BUDGETS.rules_replace([BudgetRule(1, tenant, "day", tokens=2000)])
    sessions = [await api.session(model="scripted:slow:5:20", maxTokens=1000) for _ in range(6)]
    runs = await asyncio.gather(*(api.run(session, "hello") for session in sessions))
    ends = sorted(run.get("endReason") or run["status"] for run in runs)
    assert ends == ["budget"] * 4 + ["completed"] * 2
