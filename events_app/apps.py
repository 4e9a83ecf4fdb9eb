"""Django's handle on this room."""

from __future__ import annotations

from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "events_app"
    verbose_name = "Webhooks"
    default_auto_field = "django.db.models.BigAutoField"
