"""session"""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from faces.console.page import Page

PAGE = Page(
    name="session",
    route="sessions/<str:session_id>",
    title=_("Session"),
    menu=False,
    parent="sessions",
    template="console/session.html",
)
