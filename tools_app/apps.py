"""The Django application `tools_app`."""

from __future__ import annotations

from django.apps import AppConfig


class ToolsConfig(AppConfig):
    name = "tools_app"
    verbose_name = "Tools"
    default_auto_field = "django.db.models.BigAutoField"
    config_sections = {"tools": "tools_app.operator_rules.TOOLS", "mcp": "tools_app.operator_rules.MCP"}

    def ready(self) -> None:
        from events_app.deliveries import DELIVERIES  # noqa: PLC0415  (models are not loaded before)
        from tools_app.client_clock import CLIENT_CLOCKS  # noqa: PLC0415
        from tools_app.events import ToolCallRequested  # noqa: PLC0415

        DELIVERIES.observe(ToolCallRequested.type, CLIENT_CLOCKS.start)
