"""The check of the configuration file (GATEWAY_CONFIG) at the start. A file that breaks while a process serves leaves
the last good configuration in force; at the start there is none yet, so a broken file stops it.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from agents_app.directory.entries import AGENTS
from core_app.config_file import ConfigurationError
from core_app.errors import GatewayError
from inference_app.catalogue.config import MODELS, parse
from inference_app.operator.operator_settings import overlay_read
from tools_app import operator_rules


def configuration_check() -> None:
    """Reads the file together with the operator settings of the admin; raises ImproperlyConfigured for a fault."""
    try:
        overlay = overlay_read()
        MODELS.check(lambda section: parse(section, overlay))
        AGENTS.get()
        operator_rules.rules()
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"GATEWAY_CONFIG: {error}") from None
    except GatewayError as error:
        raise ImproperlyConfigured(error.message) from None
