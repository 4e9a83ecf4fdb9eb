"""One session: its conversation, the timeline of its runs beside its events, and what may be done with it.

The first paint has the newest messages. The script then shows the runs from the session's log, and follows the log
from the position that the page was made at, so that nothing in between is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from faces.console.page import Page, Visit
from sessions_app import wire
from sessions_app.models import SessionState
from sessions_app.selectors import messages_newest, session_get
from tenants_app.principal import SESSIONS, SESSIONS_READ

MESSAGES = 30
MESSAGE_CHARACTERS = 20_000


def context(visit: Visit, session_id: str) -> Mapping[str, Any]:
    """Returns the session with its newest messages. Raises SessionNotFound."""
    session = session_get(visit.principal, session_id)
    shown = wire.session_to_wire(session)
    messages = [wire.message_to_wire(message) for message in messages_newest(session, limit=MESSAGES)]
    for message in messages:
        message["content"] = message["content"][:MESSAGE_CHARACTERS]
    return {
        "title": session.title or session.public_id,
        "session": shown,
        "messages": messages,
        "may_write": visit.principal.allows(SESSIONS) and session.state != SessionState.CLOSED,
        "may_fork": visit.principal.allows(SESSIONS),
        "data": {"session": shown},
    }


PAGE = Page(
    name="session",
    route="sessions/<str:session_id>",
    title=_("Session"),
    template="console/session.html",
    script="session.js",
    style="session.css",
    context=context,
    scopes=(SESSIONS_READ,),
    menu=False,
    parent="sessions",
)
