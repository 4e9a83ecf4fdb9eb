"""The Django app of the shared kernel."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate

TIMEOUT = "idle_in_transaction_session_timeout"


class CoreConfig(AppConfig):
    name = "core_app"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Lets migrations think: between two statements Django works out the state of all models, which takes seconds
        on a busy machine, and an idle transaction of the gateway has less. From any sender: Django sends these signals
        for apps with models only, and this one has none."""
        pre_migrate.connect(_allow_idle_transactions)
        post_migrate.connect(_bound_idle_transactions)


def _allow_idle_transactions(using: str, **given: Any) -> None:
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(f"SET {TIMEOUT} = '10min'")


def _bound_idle_transactions(using: str, **given: Any) -> None:
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(f"RESET {TIMEOUT}")
