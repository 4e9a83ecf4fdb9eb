"""The app `responses_app`."""

from __future__ import annotations

from django.apps import AppConfig


class ResponsesConfig(AppConfig):
    """No models yet: nothing is stored."""

    name = "responses_app"
