"""The console's pages in the order of the menu. A page is added with its module and a line here."""

from __future__ import annotations

from collections.abc import Sequence

from faces.console.page import Page
from faces.console.pages import (
    agents,
    events,
    inbox,
    keys,
    operations,
    playground,
    session,
    sessions,
    spaces,
    tasks,
    usage,
)

PAGES: Sequence[Page] = (
    sessions.PAGE,
    session.PAGE,
    inbox.PAGE,
    playground.PAGE,
    agents.PAGE,
    agents.AGENT,
    tasks.PAGE,
    tasks.TASK,
    spaces.PAGE,
    spaces.SPACE,
    events.PAGE,
    usage.PAGE,
    operations.PAGE,
    keys.PAGE,
)
