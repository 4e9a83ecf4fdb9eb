"""A log filter for requests that Django refuses as suspicious: one warning each, without a traceback.

Django logs them as errors with one, although any stranger can cause them (a foreign `Host`) and nothing has failed.
"""

from __future__ import annotations

import logging

PREFIX = "django.security."


class SecurityFilter(logging.Filter):
    """A handler's filter: Django has a logger per kind of refusal, and a logger's filter does not see its children."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith(PREFIX):
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = record.exc_text = record.stack_info = None
        return True
