"""Erasure beside forks, exports and long logs: a copy is complete and found, or refused; no lock is held for long."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents_app.events import MessageDelta
from core_app import clock
from core_app.batch_size import BatchSizer
from core_app.database import write_transaction
from core_app.errors import Conflict
from core_app.ids import new_id
from events_app import log, removal
from events_app.models import Event, Stream
from sessions_app.models import AgentSession, Message, Run, RunState
from sessions_app.services import erasure, redaction
from sessions_app.services.erasure import end_user_erase, session_erase, tenant_erase
from sessions_app.services.erasure_mark import sessions_mark
from sessions_app.services.fork import session_fork
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_change, session_create
from tenants_app.models import Tenant
from tests.conftest import Caller
from tests.sessions.interleaving import pause, perform
from tools_app import registry

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "Rumpelstiltskin"
EVENTS = 9


class Talk:
    """A session in which end users spoke, one run each."""

    def __init__(self, owner: Caller, *end_users: str, group: str | None = None) -> None:
        self.principal = owner.principal
        self.session = session_create(
            principal=owner.principal, request=SessionRequest(model="demo:echo", group_id=group)
        )
        for end_user in end_users:
            self.say(end_user)

    def say(self, end_user: str) -> None:
        prompt = Prompt(text=SECRET, end_user=end_user)
        run = prompt_accept(principal=self.principal, public_id=self.session.public_id, prompt=prompt).run_pk
        stream_id = self.session.stream_id
        log.append(stream_id, [MessageDelta(message_id="m", delta=SECRET)] * EVENTS, run_id=run)
        number = Message.objects.filter(session=self.session).count() + 1
        Message.objects.create(
            id=new_id("msg"), session=self.session, run_id=run, number=number, role="user", content=SECRET
        )
        AgentSession.objects.filter(pk=self.session.pk).update(message_count=number)
        head = Stream.objects.get(pk=stream_id).head
        Run.objects.filter(pk=run).update(state=RunState.COMPLETED, ended_at=clock.now(), last_offset=head)

    def fork(self) -> AgentSession:
        last = Message.objects.filter(session=self.session).latest("number")
        return session_fork(principal=self.principal, public_id=self.session.public_id, message_id=last.pk)

    def erase(self, end_user: str = "bob") -> tuple[int, int]:
        return end_user_erase(tenant_id=self.principal.tenant_id, end_user=end_user, actor="test")


def messages_with_secret() -> int:
    return Message.objects.filter(content=SECRET).count()


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (removal, erasure, redaction):
        monkeypatch.setattr(module, "BATCH", 2)


def test_a_session_that_is_being_removed_is_not_forked(
    owner: Caller, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, removes = Talk(owner, "bob"), removal.streams_empty

    def fork_meanwhile(**given: Any) -> int:
        with pytest.raises(Conflict, match="being erased"):
            session_fork(principal=owner.principal, public_id=talk.session.public_id, message_id="msg_any")
        return removes(**given)

    monkeypatch.setattr(erasure, "streams_empty", fork_meanwhile)
    session_erase(tenant_id=tenant.pk, public_id=talk.session.public_id, actor="test")
    assert not AgentSession.objects.exists()


def test_a_fork_that_is_made_while_its_end_user_is_erased_is_found(
    owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Talk(owner, "bob"), Talk(owner, "bob")
    ends = erasure.session_end
    forks: list[AgentSession] = []

    def fork_second_first(session: AgentSession) -> None:
        if session.pk == first.session.pk:
            forks.append(second.fork())
        ends(session)

    monkeypatch.setattr(erasure, "session_end", fork_second_first)
    assert first.erase() == (3, 0)
    assert len(forks) == 1
    assert not AgentSession.objects.exists()


def test_a_session_that_is_redacted_is_forked_only_afterwards(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, replaces = Talk(owner, "bob", "alice"), removal.run_events_replace

    def fork_meanwhile(**given: Any) -> None:
        with pytest.raises(Conflict, match="being erased"):
            talk.fork()
        replaces(**given)

    monkeypatch.setattr(redaction, "run_events_replace", fork_meanwhile)
    assert talk.erase() == (0, 1)
    fork = talk.fork()
    contents = Message.objects.filter(session=fork).order_by("number").values_list("content", flat=True)
    assert list(contents) == [redaction.ERASED, SECRET]


def test_a_run_that_comes_while_its_end_user_is_redacted_is_redacted_too(
    owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, replaces = Talk(owner, "bob", "alice"), removal.run_events_replace

    def speak_meanwhile(**given: Any) -> None:
        monkeypatch.setattr(redaction, "run_events_replace", replaces)
        talk.say("bob")
        replaces(**given)

    monkeypatch.setattr(redaction, "run_events_replace", speak_meanwhile)
    assert talk.erase() == (0, 2)
    assert messages_with_secret() == 1
    assert not Run.objects.filter(end_user="bob").exists()


def test_an_end_user_who_goes_on_is_said_to(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    Talk(owner, "bob")
    removes = erasure.sessions_remove

    def speak_again(sessions: Any, **given: Any) -> Any:
        Talk(owner, "bob")
        return removes(sessions, **given)

    monkeypatch.setattr(erasure, "sessions_remove", speak_again)
    monkeypatch.setattr(erasure, "MAX_ROUNDS", 3)
    with pytest.raises(Conflict, match="3 rounds"):
        end_user_erase(tenant_id=owner.principal.tenant_id, end_user="bob", actor="test")


def test_a_tenants_sessions_that_come_meanwhile_are_erased_too(
    owner: Caller, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, removes = Talk(owner, "bob"), erasure.sessions_remove

    def fork_first(sessions: Any, **given: Any) -> Any:
        monkeypatch.setattr(erasure, "sessions_remove", removes)
        talk.fork()
        return removes(sessions, **given)

    monkeypatch.setattr(erasure, "sessions_remove", fork_first)
    assert tenant_erase(tenant=tenant, actor="test") == (2, True)
    assert not AgentSession.objects.exists()


def test_a_redaction_that_was_interrupted_is_completed_by_the_next(
    owner: Caller, monkeypatch: pytest.MonkeyPatch, small_batches: None
) -> None:
    talk, forgets = Talk(owner, "bob", "bob", "bob", "alice"), redaction._forget_cuts

    def fail(*_: Any) -> int:
        raise RuntimeError("killed")

    monkeypatch.setattr(redaction, "_forget_cuts", fail)
    with pytest.raises(RuntimeError):
        talk.erase()
    monkeypatch.setattr(redaction, "_forget_cuts", forgets)
    assert AgentSession.objects.get().erasing_at is not None
    assert talk.erase() == (0, 3)
    assert AgentSession.objects.get().erasing_at is None
    assert messages_with_secret() == 1
    assert not Event.objects.filter(data__contains=SECRET, run_id__in=Run.objects.filter(end_user=None)).exists()


def test_an_export_refuses_what_is_being_erased(owner: Caller) -> None:
    talk, kept = Talk(owner, "bob"), Talk(owner, "bob")
    sessions_mark([talk.session.pk])
    with pytest.raises(CommandError, match="being erased"):
        call_command("export", tenant="acme", session=talk.session.public_id, stdout=StringIO())
    output = StringIO()
    call_command("export", tenant="acme", stdout=output)
    assert kept.session.public_id in output.getvalue()
    assert talk.session.public_id not in output.getvalue()


def test_an_export_during_which_an_erasure_came_says_so(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, reads = Talk(owner, "bob"), registry.tools_list

    def mark_first(stream_id: int) -> Any:
        sessions_mark([talk.session.pk])
        return reads(stream_id)

    monkeypatch.setattr(registry, "tools_list", mark_first)
    with pytest.raises(CommandError, match="Discard the output"):
        call_command("export", tenant="acme", stdout=StringIO())


def test_a_runs_events_are_redacted_a_batch_at_a_time(
    owner: Caller, monkeypatch: pytest.MonkeyPatch, small_batches: None
) -> None:
    talk = Talk(owner, "bob", "alice")
    monkeypatch.setattr(BatchSizer, "record", lambda *_: None)
    with CaptureQueriesContext(connection) as asked:
        talk.erase()
    updates = [query["sql"] for query in asked if query["sql"].startswith("UPDATE events_app_event")]
    assert len(updates) == (EVENTS + 1) / 2
    left = Event.objects.filter(data__contains=SECRET).values_list("run_id", flat=True)
    assert set(left) == {Run.objects.get(end_user="alice").pk}


def test_erasing_a_session_does_not_read_the_log_of_its_group(
    owner: Caller, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchSizer, "record", lambda *_: None)
    small, large = (Talk(owner, "bob", group=name) for name in ("small", "large"))
    # As if other sessions had filled the group's log.
    Stream.objects.filter(pk=Stream.objects.filter(kind="group").latest("pk").pk).update(head=50_000_000)

    def count_statements(talk: Talk) -> int:
        with CaptureQueriesContext(connection) as asked:
            session_erase(tenant_id=tenant.pk, public_id=talk.session.public_id, actor="test")
        return len(asked)

    assert count_statements(large) == count_statements(small)
    assert not Event.objects.exists()


def test_a_session_that_left_its_group_leaves_no_pointer_in_it(owner: Caller, tenant: Tenant) -> None:
    talk = Talk(owner, "bob", group="former")
    session_change(principal=owner.principal, public_id=talk.session.public_id, changes={"group_id": None})
    assert Event.objects.filter(source=talk.session.stream_id).exists()
    session_erase(tenant_id=tenant.pk, public_id=talk.session.public_id, actor="test")
    assert not Event.objects.exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer.")
def test_an_erasure_waits_for_a_fork_that_is_being_made_and_then_finds_it(owner: Caller) -> None:
    talk = Talk(owner, "bob")

    def fork() -> None:
        with write_transaction():
            talk.fork()
            pause()

    perform(["fork", "erase"], {"fork": fork, "erase": talk.erase})
    assert not AgentSession.objects.exists()
