"""Removal and folding in batches while prompts are accepted: one before each batch and one during it.

A batch is two rows here, so that there are many. Prompts come from threads with connections of their own, as in a
server; "database is locked" would be their failure or the batch's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from agents_app.events import MessageDelta
from core_app import clock, database
from core_app.batch_size import BatchSizer
from core_app.ids import new_id
from events_app import log, removal
from events_app.models import Event, Stream, WebhookDelivery
from events_app.webhooks import removal as deliveries
from events_app.webhooks.services import webhook_create
from sessions_app import housekeeping
from sessions_app.legs import sweep as sweeping
from sessions_app.models import AgentSession, Message, Run, RunState
from sessions_app.services import erasure, redaction
from sessions_app.services.erasure import end_user_erase, session_erase, tenant_erase
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.retention import retention_apply
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.models import LedgerEntry, Tenant
from tenants_app.principal import Principal
from tenants_app.selectors import usage_rows
from tenants_app.services import ledger_record
from tenants_app.services import usage as folding
from tenants_app.services.usage import usage_fold, usage_unfold
from tests.conftest import Caller
from tests.gateway_harness import WAIT

pytestmark = pytest.mark.django_db(transaction=True)

SESSIONS = 3
RUNS = 3
EVENTS = 5
OLD = timedelta(days=100)


@dataclass
class Crowd:
    """Clients that send a prompt each, in a session and a thread of its own."""

    principal: Principal
    accepted: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def come(self) -> threading.Thread:
        thread = threading.Thread(target=self._prompt)
        thread.start()
        return thread

    def _prompt(self) -> None:
        try:
            session = session_create(principal=self.principal, request=SessionRequest(model="demo:echo"))
            self.accepted.append(accept(self.principal, session.public_id))
        except BaseException as error:  # raised again in the test's thread
            self.failures.append(error)
        finally:
            connections.close_all()

    def check(self) -> None:
        assert self.failures == []
        assert Run.objects.filter(pk__in=self.accepted, state=RunState.QUEUED).count() == len(self.accepted)


def accept(principal: Principal, session: str) -> str:
    return prompt_accept(principal=principal, public_id=session, prompt=Prompt(text="hello", end_user="bob")).run_pk


def join_thread(thread: threading.Thread) -> None:
    thread.join(WAIT)
    assert not thread.is_alive()


@pytest.fixture
def crowd(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    """The crowd whose clients come with every batch inside `prompts_around_batches`."""
    for module in (removal, deliveries, erasure, redaction, folding):
        monkeypatch.setattr(module, "BATCH", 2)
    return Crowd(owner.principal)


@contextmanager
def prompts_around_batches(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    @contextmanager
    def batch() -> Iterator[None]:
        if connection.in_atomic_block:
            with database.write_transaction():
                yield
            return
        join_thread(crowd.come())
        with database.write_transaction():
            during = crowd.come()
            yield
        join_thread(during)

    with monkeypatch.context() as patched:
        for module in (removal, deliveries, erasure, redaction, folding):
            patched.setattr(module, "write_transaction", batch)
        yield


def old_session(principal: Principal, name: str, *, group: str | None = None) -> AgentSession:
    """Creates a session with events, messages and ledger entries, whose runs ended long ago."""
    session = session_create(
        principal=principal, request=SessionRequest(model="demo:echo", public_id=name, group_id=group)
    )
    for number in range(1, RUNS + 1):
        run = accept(principal, name)
        log.append(session.stream_id, [MessageDelta(message_id="m", delta="hello")] * EVENTS, run_id=run)
        Message.objects.create(
            id=new_id("msg"), session=session, run_id=run, number=number, role="user", content="hello"
        )
        spent = {"model": "m", "input_tokens": 1, "output_tokens": 1, "end_user": "bob"}
        ledger_record(tenant_id=principal.tenant_id, session_ref=name, run_id=run, response_no=1, **spent)  # type: ignore[arg-type]
    head = Stream.objects.get(pk=session.stream_id).head
    moment = clock.now() - OLD
    Run.objects.filter(session=session).update(state=RunState.COMPLETED, ended_at=moment, last_offset=head)
    LedgerEntry.objects.filter(session_ref=name).update(created_at=moment)
    AgentSession.objects.filter(pk=session.pk).update(updated_at=moment, state="idle")
    return session


@pytest.fixture
def sessions(owner: Caller, crowd: Crowd) -> list[AgentSession]:
    return [old_session(owner.principal, f"old-{number}", group="together") for number in range(SESSIONS)]


def set_retention(tenant: Tenant, **days: int) -> Tenant:
    tenant.settings = {f"retention_{what}_days": number for what, number in days.items()}
    tenant.save()
    return tenant


def test_retention_removes_while_prompts_are_accepted(
    tenant: Tenant, crowd: Crowd, sessions: list[AgentSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage_fold(limit=4)
    with prompts_around_batches(crowd, monkeypatch):
        done = retention_apply(tenant=set_retention(tenant, sessions=30, ledger=30))
    assert (done.sessions, done.ledger) == (SESSIONS, SESSIONS * RUNS)
    assert not AgentSession.objects.filter(pk__in=[session.pk for session in sessions]).exists()
    assert not Event.objects.filter(stream_id__in=[session.stream_id for session in sessions]).exists()
    assert usage_rows(tenant_id=tenant.pk) == []
    assert len(crowd.accepted) > 60
    crowd.check()


def test_old_events_go_while_their_session_is_prompted(
    tenant: Tenant, owner: Caller, crowd: Crowd, sessions: list[AgentSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, lock = sessions[0], log.lock
    waiting: list[threading.Thread] = []
    accepted: list[str] = []

    def prompt_meanwhile() -> None:
        try:
            accepted.append(accept(owner.principal, session.public_id))
        finally:
            connections.close_all()

    def lock_then_prompt(stream_id: int) -> Any:
        here = lock(stream_id)
        if stream_id == session.stream_id and len(waiting) < RUNS and threading.current_thread().name != "prompt":
            # It waits for the end of this batch, which releases the row.
            waiting.append(threading.Thread(target=prompt_meanwhile, name="prompt"))
            waiting[-1].start()
        return here

    before = Event.objects.filter(stream_id=session.stream_id).count()
    monkeypatch.setattr(log, "lock", lock_then_prompt)
    retention_apply(tenant=set_retention(tenant, events=30))
    monkeypatch.undo()
    for thread in waiting:
        join_thread(thread)
    assert len(accepted) == RUNS
    offsets = list(
        Event.objects.filter(stream_id=session.stream_id).order_by("offset").values_list("offset", flat=True)
    )
    assert offsets == list(range(before + 1, before + 1 + len(offsets)))
    assert Run.objects.filter(pk__in=accepted, state=RunState.QUEUED).count() == RUNS


def test_a_prompt_that_comes_before_its_sessions_removal_keeps_it(
    tenant: Tenant, owner: Caller, sessions: list[AgentSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, accepted = erasure.sessions_end, []

    def late(keys: Sequence[int], **where: Any) -> list[AgentSession]:
        assert sessions[1].pk in keys
        accepted.append(accept(owner.principal, "old-1"))
        return ends(keys, **where)

    monkeypatch.setattr("sessions_app.services.retention.sessions_end", late)
    assert retention_apply(tenant=set_retention(tenant, sessions=30)).sessions == SESSIONS - 1
    assert list(AgentSession.objects.values_list("public_id", "closed_at")) == [("old-1", None)]
    assert Event.objects.filter(stream_id=sessions[1].stream_id).count() > RUNS * EVENTS
    assert Run.objects.get(pk=accepted[0]).state == RunState.QUEUED


def test_thirty_sessions_are_removed_with_the_statements_of_three(
    tenant: Tenant, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_retention(tenant, sessions=30)
    # The duration of transactions must not change the size of batches.
    monkeypatch.setattr(BatchSizer, "record", lambda *_: None)

    def count_statements(sessions: int) -> int:
        for number in range(sessions):
            old_session(owner.principal, f"old-{number}", group="together")
        monkeypatch.setattr(removal, "BATCH_SIZE", BatchSizer())
        monkeypatch.setattr(erasure, "BATCH_SIZE", BatchSizer())
        with CaptureQueriesContext(connection) as asked:
            assert retention_apply(tenant=tenant).sessions == sessions
        return len(asked)

    few = count_statements(3)
    # The size of a batch is bounded, so some of the tables need one batch more.
    assert count_statements(30) <= few + 30


def test_of_sessions_that_are_ended_together_each_follower_is_told(
    tenant: Tenant, owner: Caller, sessions: list[AgentSession]
) -> None:
    hook = webhook_create(principal=owner.principal, url="https://hooks.example.com/", events=["session_closed"])
    heads = {session.stream_id: Stream.objects.get(pk=session.stream_id).head for session in sessions}
    parent = Stream.objects.get(kind="group")
    ended = erasure.sessions_end([session.pk for session in sessions], where=Q(tenant=tenant))
    assert [session.pk for session in ended] == [session.pk for session in sessions]
    closings = Event.objects.filter(type="session_closed")
    assert dict(closings.filter(source=None).values_list("stream_id", "offset")) == {
        stream_id: head + 1 for stream_id, head in heads.items()
    }
    pointers = closings.filter(stream_id=parent.pk).order_by("offset").values_list("offset", "source_id")
    assert list(pointers) == [(parent.head + 1 + place, stream_id) for place, stream_id in enumerate(sorted(heads))]
    assert Stream.objects.get(pk=parent.pk).head == parent.head + SESSIONS
    told = WebhookDelivery.objects.filter(endpoint=hook.endpoint).values_list("stream_id", flat=True)
    assert sorted(told) == sorted(heads)
    erasure.sessions_remove(ended)
    assert not WebhookDelivery.objects.exists()
    assert not Event.objects.exists()


def test_a_session_of_another_tenant_that_is_called_the_same_keeps_its_spending(
    tenant: Tenant, owner: Caller, stranger: Caller, sessions: list[AgentSession]
) -> None:
    old_session(stranger.principal, "old-1")
    retention_apply(tenant=set_retention(tenant, sessions=30))
    theirs = LedgerEntry.objects.filter(tenant_id=stranger.principal.tenant_id, session_ref="old-1", end_user="bob")
    assert theirs.count() == RUNS
    assert not LedgerEntry.objects.filter(tenant=tenant).exclude(session_ref="").exists()


ERASURES: dict[str, Callable[[Tenant], object]] = {
    "session": lambda tenant: session_erase(tenant_id=tenant.pk, public_id="old-0", actor="test"),
    "end user": lambda tenant: end_user_erase(tenant_id=tenant.pk, end_user="bob", actor="test"),
    "tenant": lambda tenant: tenant_erase(tenant=tenant, actor="test"),
}


@pytest.mark.parametrize("what", ERASURES)
def test_erasure_goes_on_while_others_prompt(
    what: str,
    tenant: Tenant,
    stranger: Caller,
    crowd: Crowd,
    sessions: list[AgentSession],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage_fold(limit=4)
    told = usage_rows(tenant_id=tenant.pk)
    crowd.principal = stranger.principal
    with prompts_around_batches(crowd, monkeypatch):
        ERASURES[what](tenant)
    erased = sessions[:1] if what == "session" else sessions
    assert not AgentSession.objects.filter(pk__in=[session.pk for session in erased]).exists()
    assert not Event.objects.filter(stream_id__in=[session.stream_id for session in erased]).exists()
    names = [session.public_id for session in erased]
    assert not LedgerEntry.objects.filter(session_ref__in=names).exists()
    assert usage_rows(tenant_id=tenant.pk) == told
    assert len(crowd.accepted) > 20
    crowd.check()


def test_the_ledger_is_folded_while_prompts_are_accepted(
    tenant: Tenant, crowd: Crowd, sessions: list[AgentSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = usage_rows(tenant_id=tenant.pk)
    with prompts_around_batches(crowd, monkeypatch):
        while usage_fold(limit=2):
            assert usage_rows(tenant_id=tenant.pk) == told
        usage_unfold(tenant_id=tenant.pk)
    assert usage_rows(tenant_id=tenant.pk) == told
    assert len(crowd.accepted) >= SESSIONS * RUNS
    crowd.check()


@pytest.mark.parametrize("allowed", [0, 1, 2, 5, 9, 14, 20])
def test_a_removal_that_is_stopped_at_any_batch_is_finished_by_the_next(
    allowed: int, tenant: Tenant, sessions: list[AgentSession]
) -> None:
    asked: list[None] = []

    def go_on() -> bool:
        asked.append(None)
        return len(asked) <= allowed

    set_retention(tenant, sessions=30, events=30, ledger=30)
    retention_apply(tenant=tenant, go_on=go_on)
    assert AgentSession.objects.exists()
    retention_apply(tenant=tenant)
    left_over = (AgentSession, Run, Message, LedgerEntry)
    assert [model.objects.count() for model in left_over] == [0, 0, 0, 0]
    assert not Event.objects.exists()
    assert Stream.objects.filter(kind="session").count() == 0


async def test_a_stop_ends_retention_at_the_border_of_a_batch(
    tenant: Tenant, sessions: list[AgentSession], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.GATEWAY_RETENTION_LEDGER_DAYS = 30
    settings.GATEWAY_RUNNER = "inline"
    sweep, loop, changed = sweeping.Sweep(), asyncio.get_running_loop(), folding._change_rows
    batches: list[int] = []
    over = asyncio.Event()

    def stop_after_two(*args: Any) -> int:
        batches.append(changed(*args))
        if len(batches) == 2:
            # The process is told to end while this batch is being removed.
            asyncio.run_coroutine_threadsafe(sweep.drain(), loop).result(WAIT)
            loop.call_soon_threadsafe(over.set)
        return batches[-1]

    monkeypatch.setattr(housekeeping, "usage_fold", lambda: 0)
    monkeypatch.setattr(folding, "_change_rows", stop_after_two)
    await sweep.start()
    async with asyncio.timeout(WAIT):
        await over.wait()
    await sweep.stop()
    # Waits for the thread, as a process does when it ends.
    await loop.run_in_executor(None, database.shutdown)
    assert batches == [2, 2]
    assert await database.run(LedgerEntry.objects.count) == SESSIONS * RUNS - 4
