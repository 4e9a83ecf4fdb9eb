"""The Django app of the shared kernel."""

from __future__ import annotations

from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "core_app"
    default_auto_field = "django.db.models.BigAutoField"
