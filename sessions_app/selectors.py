"""Reading sessions and runs; every look-up is bound to the principal's tenant.

Another tenant's id is answered exactly like an unknown one: SessionNotFound.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import TypeVar

from django.db.models import Model, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Length

from core_app.errors import NotFound, SessionNotFound
from events_app.models import Stream
from events_app.positions import StreamPosition, position
from sessions_app.models import ACTIVE, UNFINISHED, AgentSession, Message, Run, SessionGroup
from tenants_app.principal import Principal

Row = TypeVar("Row", bound=Model)

PAGE_CHARACTERS = 4 * 1024 * 1024
"""Of texts in one page. Two hundred answers of a megabyte were a fifth of a gigabyte, and several times that while the
page was made; what does not fit is on the next one."""

UNLISTED = ("system_prompt", "response_format", "options", "builtins", "approvals", "metadata")
"""What no list of sessions shows, a megabyte each at most."""


def session_get(principal: Principal, public_id: str) -> AgentSession:
    """The tenant's session of that id, closed ones too."""
    session = (
        AgentSession.objects.select_related("group").filter(tenant_id=principal.tenant_id, public_id=public_id).first()
    )
    if session is None:
        raise session_not_found(public_id)
    return session


def session_position(session: AgentSession) -> StreamPosition:
    """Where the session's stream stands. Raises SessionNotFound when it was erased since it was looked up."""
    try:
        return position(session.stream_id)
    except Stream.DoesNotExist:
        raise session_not_found(session.public_id) from None


def session_not_found(public_id: str) -> SessionNotFound:
    """The one sentence for it."""
    return SessionNotFound(f"There is no session {public_id!r}.")


def session_names(stream_ids: Collection[int]) -> Mapping[int, str]:
    """What sessions are called on the wire, by their streams; for who has streams of one tenant already."""
    return dict(AgentSession.objects.filter(stream_id__in=stream_ids).values_list("stream_id", "public_id"))


def sessions_of_end_user(tenant_id: int, end_user: str) -> QuerySet[AgentSession]:
    """Those with a run of this user of the client, or with something of it that a fork or an import has brought."""
    runs = Run.objects.filter(tenant_id=tenant_id, end_user=end_user)
    told = Message.objects.filter(end_user=end_user, session__tenant_id=tenant_id)
    spoken = Q(pk__in=runs.values("session_id")) | Q(pk__in=told.values("session_id"))
    return AgentSession.objects.filter(spoken, tenant_id=tenant_id).order_by("pk")


def sessions_page(
    principal: Principal, *, before: int | None, limit: int, filters: Q, group: str | None = None
) -> tuple[list[AgentSession], int | None]:
    """The newest sessions first, and the cursor of the next page (None at the end); of a group if it is named."""
    rows = AgentSession.objects.select_related("group", "stream").defer(*UNLISTED)
    rows = rows.filter(filters, tenant_id=principal.tenant_id)
    if group is not None:
        # By its number: through a join the sessions of the whole tenant would be read for the few of the group.
        of_tenant = SessionGroup.objects.filter(tenant_id=principal.tenant_id, public_id=group)
        rows = rows.filter(group_id=of_tenant.values_list("pk", flat=True).first() or 0)
    return _page(rows.filter(id__lt=before) if before is not None else rows, "-id", limit)


def run_get(session: AgentSession, run_id: str) -> Run:
    """A run of the session."""
    run = Run.objects.filter(session=session, pk=run_id).first()
    if run is None:
        raise NotFound(f"The session has no run {run_id!r}.")
    return run


def run_active(session_id: int) -> Run | None:
    """The run that is under way or waits; at most one."""
    return Run.objects.filter(session_id=session_id, state__in=ACTIVE).first()


def run_current(session_id: int) -> Run | None:
    """What a client means by "what runs": the active run, else the queued one that is next.

    An accepted prompt waits for its leg for a moment, or for as long as there is no room; its client knows neither.
    """
    return run_active(session_id) or run_next(session_id)


def run_next(session_id: int) -> Run | None:
    """The queued run that is begun next, when none is active."""
    return runs_unfinished(session_id).order_by("-urgent", "number").first()


def runs_unfinished(session_id: int) -> QuerySet[Run]:
    """The active run and the queued ones."""
    return Run.objects.filter(session_id=session_id, state__in=UNFINISHED)


def run_newest(session_id: int) -> Run | None:
    """The run of the newest prompt."""
    return Run.objects.filter(session_id=session_id).order_by("-number").first()


def run_ending_after(session_id: int, after: int) -> Run | None:
    """The newest run whose terminal event lies beyond `after`, or is still to be written."""
    ahead = Q(last_offset__isnull=True) | Q(last_offset__gt=after)
    return Run.objects.filter(ahead, session_id=session_id).order_by("-number").first()


def runs_page(session: AgentSession, *, before: int | None, limit: int) -> tuple[list[Run], int | None]:
    """The newest runs first, and the next page's cursor."""
    rows = Run.objects.filter(session=session).defer("text")
    rows = rows.filter(number__lt=before) if before is not None else rows
    return _page(rows, "-number", limit, texts=("last_message", "error_reason", "metadata"))


def messages_page(session: AgentSession, *, after: int, limit: int) -> tuple[list[Message], int | None]:
    """The conversation from its beginning, and the next page's cursor."""
    rows = Message.objects.filter(session=session, number__gt=after).defer("payload")
    return _page(rows, "number", limit, texts=("content", "calls"))


def _page(rows: QuerySet[Row], order: str, limit: int, texts: Collection[str] = ()) -> tuple[list[Row], int | None]:
    """`texts` are columns of any size: with them a page ends before the row that brings them over PAGE_CHARACTERS."""
    if not texts:
        found = list(rows.order_by(order)[: limit + 1])
        more = len(found) > limit
        return found[:limit], getattr(found[limit - 1], order.lstrip("-")) if more else None
    key = order.lstrip("-")
    size = sum((Coalesce(Length(name), 0) for name in texts), start=Value(0))
    sizes = list(rows.order_by(order).annotate(size=size).values_list(key, "size")[: limit + 1])
    ends = itertools.accumulate(size for _, size in sizes)
    count = max(1, min(limit, sum(end <= PAGE_CHARACTERS for end in ends)))
    keys = [key for key, _ in sizes[:count]]
    return list(rows.filter(**{f"{key}__in": keys}).order_by(order)), keys[-1] if len(sizes) > count else None
