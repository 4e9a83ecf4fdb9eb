"""Registers the app. The admin shows it as Webhooks, its only models with pages there."""

from __future__ import annotations

from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "events_app"
    verbose_name = "Webhooks"
    default_auto_field = "django.db.models.BigAutoField"
