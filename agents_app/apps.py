"""Django's configuration of this app."""

from __future__ import annotations

from django.apps import AppConfig


class AgentsConfig(AppConfig):
    name = "agents_app"
    verbose_name = "Agents"
    default_auto_field = "django.db.models.BigAutoField"
    config_sections = {"agents": "agents_app.directory.entries.AGENTS"}
    config_references = "agents_app.directory.references.dangling"
