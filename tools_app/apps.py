"""The Django application `tools_app`."""

from __future__ import annotations

from django.apps import AppConfig


class ToolsConfig(AppConfig):
    name = "tools_app"
    verbose_name = "Tools"
    default_auto_field = "django.db.models.BigAutoField"
    config_sections = {"tools": "tools_app.operator_rules.TOOLS", "mcp": "tools_app.operator_rules.MCP"}
