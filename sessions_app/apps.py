"""Django's handle on this room."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.utils.module_loading import import_string

from events_app.types import vocabulary_register
from sessions_app.events import GROUP_EVENTS, SESSION_EVENTS
from sessions_app.wakeup import WAKEUPS


class SessionsConfig(AppConfig):
    name = "sessions_app"
    verbose_name = "Sessions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """With workers, whoever makes work (a view, a command, the admin) leaves a job for them."""
        for vocabulary in (SESSION_EVENTS, GROUP_EVENTS):
            vocabulary_register(vocabulary)
        if settings.GATEWAY_RUNNER == "worker" and settings.GATEWAY_DATABASE_URL:
            # The queue's library is there only where its Django app is installed.
            WAKEUPS.queue = import_string("sessions_app.legs.jobs.JobQueue")()
