"""This room in the operator's admin: sessions, tool calls to decide on, webhooks, and the numbers of the front page."""

from __future__ import annotations

from admin_app.site import SITE
from sessions_app.admin import calls, sessions, webhooks
from sessions_app.admin.panel import panel

__all__ = ["calls", "sessions", "webhooks"]

SITE.panel_add(panel)
