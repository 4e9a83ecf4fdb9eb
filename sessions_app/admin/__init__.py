"""This room in the operator's admin: sessions, tool calls to decide on, webhooks, and the numbers of the front page."""

from __future__ import annotations

from sessions_app.admin import calls, sessions, webhooks
from sessions_app.admin.panel import panel
from tenants_app.admin_site import site

__all__ = ["calls", "sessions", "webhooks"]

site.panel_add(panel)
