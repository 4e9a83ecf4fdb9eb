"""The Django app `inference_app`."""

from __future__ import annotations

from django.apps import AppConfig


class InferenceConfig(AppConfig):
    """The model gateway, which the admin calls "Models"."""

    name = "inference_app"
    verbose_name = "Models"
    default_auto_field = "django.db.models.BigAutoField"
    config_sections = {"models": "inference_app.catalogue.config.MODELS"}
    config_references = "inference_app.catalogue.references.dangling"
