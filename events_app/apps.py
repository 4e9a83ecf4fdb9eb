"""Registers the app, and the check of PostgreSQL's connections.

The admin shows the app as Webhooks, its only models with pages there.
"""

from __future__ import annotations

from django.apps import AppConfig
from django.db import connection
from django.utils.module_loading import import_string


class EventsConfig(AppConfig):
    name = "events_app"
    verbose_name = "Webhooks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if connection.vendor == "postgresql":
            # By name: an embedded gateway does not need psycopg, which costs a start 0.07 s.
            import_string("events_app.incarnation_postgresql.register")()
