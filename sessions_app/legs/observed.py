"""A leg as operators see it: its ids on every line that is logged inside it, and the time it took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars, clear_contextvars

from core_app.metrics import LEG_SECONDS
from sessions_app.legs.begin import LegStart


@contextmanager
def leg_observed(start: LegStart) -> Iterator[None]:
    """Binds the session, the run and the attempt, and measures.

    What was bound before belongs to whoever woke the session: another request, perhaps of another run.
    """
    clear_contextvars()
    ids = {"session": start.session.public_id, "run": start.run.pk, "attempt": start.run.attempt}
    with bound_contextvars(**ids), LEG_SECONDS.labels(start.session.engine).time():
        yield
