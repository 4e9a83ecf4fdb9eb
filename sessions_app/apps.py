"""Django's configuration of this app."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.utils.module_loading import import_string

from agents_app.acp.parked import PARKED
from agents_app.agent_load import LOAD
from events_app.types import vocabulary_register
from sessions_app.events import GROUP_EVENTS, SESSION_EVENTS
from sessions_app.wakeup import WAKEUPS


class SessionsConfig(AppConfig):
    name = "sessions_app"
    verbose_name = "Sessions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Registers the event vocabularies and, in deployments with workers, the job queue."""
        for vocabulary in (SESSION_EVENTS, GROUP_EVENTS):
            vocabulary_register(vocabulary)
        # By name, because models are not there yet when this module is imported.
        LOAD.source_set(import_string("sessions_app.selectors.running_by_agent"))
        PARKED.source_set(import_string("sessions_app.selectors.runs_paused"))
        if settings.GATEWAY_RUNNER == "worker" and settings.GATEWAY_DATABASE_URL:
            # Imported by name, because Procrastinate is installed for PostgreSQL only.
            WAKEUPS.queue = import_string("sessions_app.legs.jobs.JobQueue")()
