"""Logging under test: the gateway's own, without its handler.

A handler that writes in batches would write between the dots of later tests. pytest's handler has every record, and
shows those of a test that fails.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gateway_project.observability import logs


def configure(options: Mapping[str, str]) -> None:
    """Configures as the gateway does, and takes the handler away."""
    logs.configure(options)
    logging.getLogger().handlers = [logging.NullHandler()]
