"""Filters of session lists, from the texts of a query string to a condition, for every face that lists sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import Exists, OuterRef, Q
from django.utils.dateparse import parse_datetime

from core_app.errors import BadRequest
from sessions_app.models import AgentSession, Run, SessionState

FILTERS = ("state", "agent", "model", "endUser", "since", "until", "search")
"""Names of the query parameters."""

MAX_CHARACTERS = 200
SEARCHED = 20_000
"""A search for a part of a title or an id looks through this many newest sessions of the tenant, so that it ends in
time in a tenant with millions. Whole ids are found among all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """The filter of a list; None and an empty text are no filter. `search` is a whole session id or run id, or a
    part of a title or a session id, in any case. `since` and `until` bound the time of creation, `until` excluded."""

    state: str = ""
    agent: str = ""
    model: str = ""
    end_user: str = ""
    search: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> SessionFilter:
        """Returns the filter of a query string. Raises BadRequest, which names the parameter."""
        texts = {name: query.get(name) or "" for name in FILTERS}
        for name, text in texts.items():
            if len(text) > MAX_CHARACTERS:
                raise BadRequest(f"'{name}' has at most {MAX_CHARACTERS} characters.", field=name)
        if texts["state"] and texts["state"] not in SessionState.values:
            raise BadRequest(f"'state' is one of {', '.join(SessionState.values)}.", field="state")
        return cls(
            state=texts["state"],
            agent=texts["agent"],
            model=texts["model"],
            end_user=texts["endUser"],
            search=texts["search"].strip(),
            since=_instant(texts["since"], "since"),
            until=_instant(texts["until"], "until"),
        )

    def condition(self, tenant_id: int) -> Q:
        """Returns the condition on the tenant's sessions. Costs a query when `search` is given."""
        condition = Q()
        for column, value in (("state", self.state), ("agent", self.agent), ("model", self.model)):
            if value:
                condition &= Q(**{column: value})
        if self.since is not None:
            condition &= Q(created_at__gte=self.since)
        if self.until is not None:
            condition &= Q(created_at__lt=self.until)
        if self.end_user:
            condition &= Q(Exists(Run.objects.filter(session=OuterRef("pk"), end_user=self.end_user)))
        return condition & self._found(tenant_id) if self.search else condition

    def _found(self, tenant_id: int) -> Q:
        newest = AgentSession.objects.filter(tenant_id=tenant_id).order_by("-pk").values_list("pk", flat=True)
        oldest_searched = next(iter(newest[SEARCHED : SEARCHED + 1]), 0)
        part = Q(pk__gt=oldest_searched) & (Q(title__icontains=self.search) | Q(public_id__icontains=self.search))
        run = Run.objects.filter(tenant_id=tenant_id, pk=self.search).values("session_id")
        return part | Q(public_id=self.search) | Q(pk__in=run)


def _instant(text: str, name: str) -> datetime | None:
    """Parses ISO 8601; without an offset it is UTC. A space counts as the `+` that clients forgot to encode."""
    if not text:
        return None
    try:
        instant = parse_datetime(text.replace(" ", "+"))
        if instant is not None:
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):  # 0001-01-01T00:00+23:00 is before the first datetime in UTC
        pass
    raise BadRequest(f"'{name}' must be an ISO 8601 date and time.", field=name)
