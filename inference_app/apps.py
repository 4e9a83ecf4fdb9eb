"""Django's handle on this room."""

from __future__ import annotations

from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference_app"
    verbose_name = "Models"
    default_auto_field = "django.db.models.BigAutoField"
