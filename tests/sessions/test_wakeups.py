"""Wake-ups are never lost: prompt, release, sweep and job in every order of their steps (PostgreSQL only).

Beside ours stand variants that do what is easily done, and lose prompts: the orders reach what they are there for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from core_app.database import write_transaction
from events_app import log
from events_app.lease import Fence, lease_claim
from sessions_app.legs import start
from sessions_app.legs import sweep as sweeping
from sessions_app.legs.start import leg_start
from sessions_app.models import Run, RunState, run_id
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from sessions_app.wakeup import WAKEUPS, SessionKey
from tests.conftest import Caller
from tests.sessions.interleaving import orders, pause, perform

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="Jobs are PostgreSQL's."),
    pytest.mark.timeout(600),
]

if settings.GATEWAY_DATABASE_URL:
    from procrastinate.contrib.django import app
    from procrastinate.exceptions import AlreadyEnqueued

    from sessions_app.legs.jobs import LEGS, WAKE, JobQueue


class Scene:
    """A session with a holder of its lease, or none, and with a job that waits, or none."""

    def __init__(self, owner: Caller, *, held: bool, job: bool) -> None:
        self.principal = owner.principal
        request = SessionRequest(model="demo:echo")
        self.session = session_create(principal=owner.principal, request=request)
        self.work = SessionKey(self.session.pk, self.session.tenant_id)
        self.fence = self.claim("holder") if held else None
        if job:
            with write_transaction():
                WAKEUPS.announce(self.work)

    def claim(self, owner: str) -> Fence | None:
        return lease_claim(stream_id=self.session.stream_id, owner=owner, seconds=60)

    def accept(self) -> None:
        prompt_accept(principal=self.principal, public_id=self.session.public_id, prompt=Prompt(text="go"))

    def prompt(self) -> None:
        """A client; the commit is a step of its own."""
        with write_transaction():
            self.accept()
            pause()

    def release(self) -> None:
        """The holder, which has just ended a run and looks for the next; it pauses after its look."""
        assert self.fence is not None
        with write_transaction():
            leg_start(session_id=self.session.pk, fence=self.fence)

    def sweep(self) -> None:
        sweeping.sweep()

    def job(self) -> None:
        """A worker that takes a job and does what it says."""
        if self.job_take():
            pause()
            fence = self.claim("worker")
            pause()
            if fence is not None:
                leg_start(session_id=self.session.pk, fence=fence)

    def job_take(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock = %s RETURNING id",
                [f"session-{self.session.pk}"],
            )
            return cursor.fetchone() is not None

    def begun(self) -> bool:
        """Whether the prompt's run was begun, once the jobs that are left are done."""
        self.job()
        return list(Run.objects.filter(session=self.session).values_list("state", "attempt")) == [(RunState.RUNNING, 1)]


class Unlocked(Scene):
    """Accepts prompts without the stream's lock."""

    def prompt(self) -> None:
        with write_transaction():
            Run.objects.create(
                id=run_id(), tenant_id=self.session.tenant_id, session=self.session, number=1, text="go", first_offset=1
            )
            WAKEUPS.announce(self.work)
            pause()


class AtOnce(Scene):
    """Looks and releases in one statement."""

    def release(self) -> None:
        with write_transaction(), connection.cursor() as cursor:
            cursor.execute(
                "UPDATE events_app_stream SET owner = NULL, lease_expires = 0 WHERE id = %s AND NOT EXISTS"
                " (SELECT 1 FROM sessions_app_run WHERE session_id = %s AND state = 'queued') RETURNING id",
                [self.session.stream_id, self.session.pk],
            )
            if cursor.fetchone() is None:
                super().release()


@pytest.fixture(autouse=True)
def _workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work goes to the queue, and whoever looks for some pauses before it acts on what it saw."""

    def pausing(look: Callable[..., Any]) -> Callable[..., Any]:
        def looked(*args: Any, **named: Any) -> Any:
            found = look(*args, **named)
            pause()
            return found

        return looked

    monkeypatch.setattr(WAKEUPS, "queue", JobQueue())
    monkeypatch.setattr(start, "_next_run", pausing(start._next_run))
    monkeypatch.setattr(sweeping, "sessions_with_work", pausing(sweeping.sessions_with_work))


def lost(owner: Caller, kind: type[Scene], steps: dict[str, int], **given: bool) -> Iterator[Scene]:
    """The scenes after which nobody begins the run that was accepted, by the order of their steps."""
    for order in orders(steps):
        scene = kind(owner, **given)
        perform(order, {name: getattr(scene, name) for name in steps})
        if not scene.begun():
            yield scene


@pytest.mark.parametrize("job", [False, True], ids=["nothing queued", "a job waits"])
def test_prompt_and_release_in_every_order_lose_nothing_without_the_sweep(owner: Caller, job: bool) -> None:
    assert not list(lost(owner, Scene, {"prompt": 2, "release": 2}, held=True, job=job))


def test_prompt_release_and_sweep_in_every_order_begin_the_run_once(owner: Caller) -> None:
    assert not list(lost(owner, Scene, {"prompt": 2, "release": 2, "sweep": 2}, held=True, job=False))


def test_prompt_release_and_job_in_every_order_begin_the_run_once(owner: Caller) -> None:
    assert not list(lost(owner, Scene, {"prompt": 2, "release": 2, "job": 2}, held=True, job=True))


def test_prompt_and_job_in_every_order_begin_the_run_once(owner: Caller) -> None:
    assert not list(lost(owner, Scene, {"prompt": 2, "job": 3}, held=False, job=True))


def test_a_prompt_that_takes_no_lock_is_lost_to_a_job_that_runs_before_its_commit(owner: Caller) -> None:
    found = next(lost(owner, Unlocked, {"prompt": 2, "job": 3}, held=False, job=True), None)
    assert found is not None
    the_sweep_finds(found)


def test_a_release_in_one_statement_loses_what_commits_while_it_waits(owner: Caller) -> None:
    found = next(lost(owner, AtOnce, {"prompt": 2, "release": 2, "job": 2}, held=True, job=True), None)
    assert found is not None
    the_sweep_finds(found)


def the_sweep_finds(scene: Scene) -> None:
    assert sweeping.sweep() == 1
    assert scene.begun()


def test_asking_twice_for_a_job_costs_the_prompt_unless_a_savepoint_bears_it(
    owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Swallowing(JobQueue):
        def defer(self, work: SessionKey) -> None:
            task = app.configure_task(WAKE, queue=LEGS, queueing_lock=f"session-{work.session_id}")
            with contextlib.suppress(AlreadyEnqueued):
                task.defer(session_id=work.session_id, tenant_id=work.tenant_id)

    ours, broken = Scene(owner, held=False, job=True), Scene(owner, held=False, job=True)
    ours.accept()
    assert ours.begun()
    monkeypatch.setattr(WAKEUPS, "queue", Swallowing())
    broken.accept()
    assert not Run.objects.filter(session=broken.session).exists()
    assert log.read(broken.session.stream_id, after=0, limit=10) == []
