"""Admin sections for sessions, tool calls to decide on and webhooks, and this room's figures on the front page."""

from __future__ import annotations

from admin_app.site import SITE, Section
from sessions_app.admin import calls, sessions, webhooks
from sessions_app.admin.panel import panel

__all__ = ["calls", "sessions", "webhooks"]

SITE.panel_add(panel)
SITE.section_add(Section("Work", rank=1, entries={"AgentSession": "Sessions", "ToolCall": None, "SessionTool": None}))
SITE.section_add(Section("Webhooks", rank=5, entries={"WebhookEndpoint": "Endpoints", "WebhookDelivery": "Deliveries"}))
