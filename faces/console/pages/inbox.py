"""The inbox: every approval and question that waits for a person in the tenant, what expires first at the top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.utils.translation import gettext_lazy as _

from core_app import jsontext
from faces.console.page import Page, Visit
from sessions_app.inbox import inbox_page, inbox_total
from tenants_app.principal import APPROVALS

PAGE_ROWS = 50
ARGUMENT_CHARACTERS = 4_000


def context(visit: Visit) -> Mapping[str, Any]:
    """Returns a page of waits."""
    after = visit.request.GET.get("cursor") or None
    found, cursor = inbox_page(visit.principal, after=after, limit=PAGE_ROWS)
    waits = [wait.to_wire() for wait in found]
    return {
        "waits": [{**wait, "shown": _shown(wait)} for wait in waits],
        "total": inbox_total(visit.principal),
        "next": urlencode({"cursor": cursor}) if cursor else "",
        "first": after is None,
        "data": {"waits": waits, "query": {"cursor": after, "limit": PAGE_ROWS}},
    }


def _shown(wait: Mapping[str, Any]) -> str:
    """Returns what is asked: the arguments of the call, or the question."""
    if wait["question"] is not None:
        return str(wait["question"]["question"])
    return jsontext.indent(jsontext.encode_text(wait["approval"]["args"]))[:ARGUMENT_CHARACTERS]


PAGE = Page(
    name="inbox",
    route="inbox",
    title=_("Inbox"),
    template="console/inbox.html",
    script="inbox.js",
    style="session.css",
    context=context,
    scopes=(APPROVALS,),
)
