"""sessions"""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from faces.console.page import Page

PAGE = Page(name="sessions", route="sessions", title=_("Sessions"), template="console/sessions.html")
