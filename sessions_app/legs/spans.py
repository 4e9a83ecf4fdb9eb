"""Observability of a leg: its ids on every log line, its span, and its duration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars, clear_contextvars

from core_app.metrics import LEG_SECONDS
from core_app.tracing import parent_headers, span
from sessions_app.legs.start import LegStart
from sessions_app.services.spans import run_attributes


@contextmanager
def leg_span(start: LegStart) -> Iterator[None]:
    """Binds the session, run and attempt to log lines, opens the leg's span and measures its duration.

    Earlier bindings are cleared: they belong to the request that woke the session, perhaps for another run.
    """
    clear_contextvars()
    attributes = run_attributes(start.session, start.run)
    counted = {"gateway.leg": start.run.leg, "gateway.attempt": start.run.attempt}
    ids = {"session": start.session.public_id, "run": start.run.pk, "attempt": start.run.attempt}
    with (
        bound_contextvars(**ids),
        span("leg", {**attributes, **counted}, parent=parent_headers(start.run.trace)),
        LEG_SECONDS.labels(start.session.engine).time(),
    ):
        yield
