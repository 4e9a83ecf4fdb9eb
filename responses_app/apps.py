"""The Django app `responses_app`."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import import_string

from events_app.types import vocabulary_register
from responses_app.completions.events import CHUNK_EVENTS
from responses_app.events import RESPONSE_EVENTS

ENGINE = "response"


class ResponsesConfig(AppConfig):
    """The room of stored responses."""

    name = "responses_app"
    verbose_name = "Responses"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Registers the vocabulary of its streams, and its engine, and what follows runs and tenants."""
        vocabulary_register(RESPONSE_EVENTS)
        vocabulary_register(CHUNK_EVENTS)
        # By name, because it imports models, which exist from now on only.
        import_string("responses_app.registration.register")()
