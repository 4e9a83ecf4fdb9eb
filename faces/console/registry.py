"""The console's pages in the order of the menu. A page is added with its module and a line here."""

from __future__ import annotations

from collections.abc import Sequence

from faces.console.page import Page
from faces.console.pages import inbox, session, sessions

PAGES: Sequence[Page] = (
    sessions.PAGE,
    session.PAGE,
    inbox.PAGE,
)
