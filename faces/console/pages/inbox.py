"""inbox"""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from faces.console.page import Page

PAGE = Page(name="inbox", route="inbox", title=_("Inbox"), template="console/inbox.html")
