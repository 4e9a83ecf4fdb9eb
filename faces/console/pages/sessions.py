"""Sessions, the newest first: filters, search, and pages by key. The list is kept current by its script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.utils.translation import gettext_lazy as _

from core_app.errors import BadRequest
from faces.console.page import Page, Visit
from faces.console.words import state_words
from sessions_app import wire
from sessions_app.selectors import sessions_page
from sessions_app.session_filter import FILTERS, SessionFilter
from tenants_app.principal import SESSIONS_READ

PAGE_ROWS = 50
MAX_CURSOR_DIGITS = 18


def context(visit: Visit) -> Mapping[str, Any]:
    """Returns a page of sessions with the filter of the query string."""
    query = {name: visit.request.GET[name] for name in FILTERS if visit.request.GET.get(name)}
    condition = SessionFilter.parse(query).condition(visit.principal.tenant_id)
    found, cursor = sessions_page(
        visit.principal, before=_cursor(visit.request.GET.get("cursor")), limit=PAGE_ROWS, filters=condition
    )
    rows = [wire.session_to_wire(session, newest=session.stream.newest) for session in found]
    older = urlencode({**query, "cursor": cursor}) if cursor is not None else ""
    return {
        "rows": rows,
        "query": query,
        "states": state_words(),
        "older": older,
        "first": "cursor" not in visit.request.GET,
        "newest": urlencode(query),
        "data": {
            "sessions": rows,
            "query": {**query, "cursor": visit.request.GET.get("cursor") or None, "limit": PAGE_ROWS},
        },
    }


def _cursor(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_CURSOR_DIGITS):
        raise BadRequest("'cursor' is the place where a page begins.", field="cursor")
    return int(text)


PAGE = Page(
    name="sessions",
    route="sessions",
    title=_("Sessions"),
    template="console/sessions.html",
    script="sessions.js",
    context=context,
    scopes=(SESSIONS_READ,),
)
