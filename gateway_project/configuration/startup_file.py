"""The check of the configuration file (GATEWAY_CONFIG) at the start. A file that breaks while a process serves leaves
the last good configuration in force; at the start there is none yet, so a broken file stops it.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog
from django.core.exceptions import ImproperlyConfigured

from core_app.config_file import ConfigurationError, dangling_references, sections_load
from core_app.errors import GatewayError
from inference_app.catalogue.config import MODELS, parse
from inference_app.operator.operator_settings import overlay_read

logger = structlog.get_logger("gateway.configuration")


def configuration_check() -> None:
    """Reads the file together with the operator settings of the admin; raises ImproperlyConfigured for a fault."""
    try:
        overlay = overlay_read()
        MODELS.check(lambda section: parse(section, overlay))
        sections_load()
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"GATEWAY_CONFIG: {error}") from None
    except GatewayError as error:
        raise ImproperlyConfigured(error.message) from None
    references_report()


def references_report(known: Collection[str] = ()) -> Collection[str]:
    """Logs a warning for each name in the file that refers to nothing, unless its sentence is `known`; returns all
    sentences. None of them stops a start: the rest can be served."""
    found = dangling_references()
    for sentence in found:
        if sentence not in known:
            logger.warning("configuration_reference_missing", reason=sentence)
    return found
