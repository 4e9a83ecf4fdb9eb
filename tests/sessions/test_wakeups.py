"""Wake-ups are never lost: prompt, release, sweep and job in every order of their steps (PostgreSQL only).

Two variants with plausible mistakes lose prompts, which shows that the orders find such mistakes.
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
    """A session, with or without a holder of its lease, and with or without a waiting job."""

    def __init__(self, owner: Caller, *, held: bool, job: bool) -> None:
        self.principal = owner.principal
        request = SessionRequest(model="demo:echo")
        self.session = session_create(principal=owner.principal, request=request)
        self.key = SessionKey(self.session.pk, self.session.tenant_id)
        self.fence = self.claim("holder") if held else None
        if job:
            with write_transaction():
                WAKEUPS.announce(self.key)

    def claim(self, owner: str) -> Fence | None:
        return lease_claim(stream_id=self.session.stream_id, owner=owner, seconds=settings.GATEWAY_LEASE_SECONDS)

    def accept(self) -> None:
        prompt_accept(principal=self.principal, public_id=self.session.public_id, prompt=Prompt(text="go"))

    def prompt(self) -> None:
        """Accepts a prompt. The commit is a step of its own."""
        with write_transaction():
            self.accept()
            pause()

    def release(self) -> None:
        """Looks for the next run as the holder that has just ended one, and pauses after the look."""
        assert self.fence is not None
        with write_transaction():
            leg_start(session_id=self.session.pk, fence=self.fence)

    def sweep(self) -> None:
        sweeping.sweep()

    def job(self) -> None:
        """Takes a job as a worker, claims the session and starts a leg."""
        if self.take_job():
            pause()
            fence = self.claim("worker")
            pause()
            if fence is not None:
                leg_start(session_id=self.session.pk, fence=fence)

    def take_job(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock = %s RETURNING id",
                [f"session-{self.session.pk}"],
            )
            return cursor.fetchone() is not None

    def is_started(self) -> bool:
        """Runs the remaining jobs. True when the prompt's run has been started then."""
        self.job()
        return list(Run.objects.filter(session=self.session).values_list("state", "attempt")) == [(RunState.RUNNING, 1)]


class Unlocked(Scene):
    """A scene that accepts prompts without the stream's lock."""

    def prompt(self) -> None:
        with write_transaction():
            Run.objects.create(
                id=run_id(), tenant_id=self.session.tenant_id, session=self.session, number=1, text="go", first_offset=1
            )
            WAKEUPS.announce(self.key)
            pause()


class AtOnce(Scene):
    """A scene that looks and releases in one statement."""

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
    """Sends wake-ups to the queue, and pauses after every look for runs."""

    def pause_after(look: Callable[..., Any]) -> Callable[..., Any]:
        def look_and_pause(*args: Any, **named: Any) -> Any:
            found = look(*args, **named)
            pause()
            return found

        return look_and_pause

    # Longer than a scene takes; a lease that is longer than this setting is another server's.
    monkeypatch.setattr(settings, "GATEWAY_LEASE_SECONDS", 60.0)
    monkeypatch.setattr(WAKEUPS, "queue", JobQueue())
    monkeypatch.setattr(start, "_next_run", pause_after(start._next_run))
    monkeypatch.setattr(sweeping, "sessions_with_work", pause_after(sweeping.sessions_with_work))


def lost_scenes(owner: Caller, kind: type[Scene], steps: dict[str, int], **given: bool) -> Iterator[Scene]:
    """Yields the scenes, one per order of steps, after which nobody starts the accepted run."""
    for order in orders(steps):
        scene = kind(owner, **given)
        perform(order, {name: getattr(scene, name) for name in steps})
        if not scene.is_started():
            yield scene


@pytest.mark.parametrize("job", [False, True], ids=["nothing queued", "a job waits"])
def test_prompt_and_release_in_every_order_lose_nothing_without_the_sweep(owner: Caller, job: bool) -> None:
    assert not list(lost_scenes(owner, Scene, {"prompt": 2, "release": 2}, held=True, job=job))


def test_prompt_release_and_sweep_in_every_order_begin_the_run_once(owner: Caller) -> None:
    assert not list(lost_scenes(owner, Scene, {"prompt": 2, "release": 2, "sweep": 2}, held=True, job=False))


def test_prompt_release_and_job_in_every_order_begin_the_run_once(owner: Caller) -> None:
    assert not list(lost_scenes(owner, Scene, {"prompt": 2, "release": 2, "job": 2}, held=True, job=True))


def test_prompt_and_job_in_every_order_begin_the_run_once(owner: Caller) -> None:
    assert not list(lost_scenes(owner, Scene, {"prompt": 2, "job": 3}, held=False, job=True))


def test_a_prompt_that_takes_no_lock_is_lost_to_a_job_that_runs_before_its_commit(owner: Caller) -> None:
    found = next(lost_scenes(owner, Unlocked, {"prompt": 2, "job": 3}, held=False, job=True), None)
    assert found is not None
    the_sweep_finds(found)


def test_a_release_in_one_statement_loses_what_commits_while_it_waits(owner: Caller) -> None:
    found = next(lost_scenes(owner, AtOnce, {"prompt": 2, "release": 2, "job": 2}, held=True, job=True), None)
    assert found is not None
    the_sweep_finds(found)


def the_sweep_finds(scene: Scene) -> None:
    assert sweeping.sweep() == 1
    assert scene.is_started()


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
    assert ours.is_started()
    monkeypatch.setattr(WAKEUPS, "queue", Swallowing())
    broken.accept()
    assert not Run.objects.filter(session=broken.session).exists()
    assert log.read(broken.session.stream_id, after=0, limit=10) == []
