"""The mark on sessions that are being erased (`AgentSession.erasing_at`), and the guard of those that are being copied.

A copy holds a shared lock on the session's row until it is committed, and the mark waits for it. So a copy is either
complete before the erasure begins, and found by it, or refused. Prompts and legs never wait for either.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models.functions import Now

from core_app.database import write_transaction
from core_app.errors import Conflict
from sessions_app.models import AgentSession
from sessions_app.selectors import session_not_found

_HOLD_SQL = "SELECT erasing_at IS NOT NULL FROM sessions_app_agentsession WHERE id = %s {share}"


def sessions_mark(keys: Sequence[int]) -> None:
    """Marks the sessions as being erased, after the copies that are being made of them are complete."""
    with write_transaction():
        rows = AgentSession.objects.filter(pk__in=keys).order_by("pk")
        # The strongest lock: only it conflicts with the copies' lock.
        list(rows.select_for_update().values_list("pk"))
        rows.order_by().filter(erasing_at=None).update(erasing_at=Now())


def session_hold(session: AgentSession) -> None:
    """Keeps the session from being erased until the caller's transaction, which copies it, ends.

    Raises Conflict when it is being erased, SessionNotFound when it has been.
    """
    # On SQLite no other transaction writes meanwhile.
    share = "FOR KEY SHARE" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(_HOLD_SQL.format(share=share), [session.pk])
        row = cursor.fetchone()
    if row is None:
        raise session_not_found(session.public_id)
    if row[0]:
        raise being_erased(session)


def being_erased(session: AgentSession) -> Conflict:
    """Returns the error for a session that cannot be copied any more, or not yet again."""
    return Conflict(f"The session {session.public_id!r} is being erased.")
