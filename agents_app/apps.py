"""Django's configuration of this app."""

from __future__ import annotations

from django.apps import AppConfig


class AgentsConfig(AppConfig):
    name = "agents_app"
    default_auto_field = "django.db.models.BigAutoField"
