"""The file of GATEWAY_CONFIG before a process starts: while one serves, a broken file leaves the last good one in
force, and at the start there is none.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from agents_app.registry import AGENTS
from core_app.config_file import ConfigurationError
from core_app.errors import GatewayError
from inference_app.catalogue.config import MODELS, parse
from inference_app.operator.operator_settings import overlay_read
from tools_app import operator_rules


def configuration_check() -> None:
    """Raises ImproperlyConfigured with what is wrong in the file, read together with the operator's rows."""
    try:
        overlay = overlay_read()
        MODELS.check(lambda section: parse(section, overlay))
        AGENTS.get()
        operator_rules.rules()
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"GATEWAY_CONFIG: {error}") from None
    except GatewayError as error:
        raise ImproperlyConfigured(error.message) from None
