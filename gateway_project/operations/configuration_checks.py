"""The checks of `gateway doctor` that concern the configuration file and the admin's rows over it."""

from __future__ import annotations

from django.conf import settings

from agents_app.directory.entries import AGENTS
from core_app.config_file import ConfigurationError, dangling_references, sections_load
from core_app.errors import GatewayError
from gateway_project.operations.finding import Found
from inference_app.catalogue.config import MODELS, models_config
from inference_app.catalogue.overlay import overlay_now
from inference_app.operator.operator_settings import rows_apply


def check_admin_rows() -> Found:
    """Reads the admin's rows, which override the file, as a serving process does."""
    MODELS.forget()
    rows_apply()
    return "ok", f"{_count_admin_rows()} providers, routes, aliases and prices of the admin override the file."


def _count_admin_rows() -> int:
    overlay = overlay_now()
    return len(overlay.providers) + len(overlay.routes) + len(overlay.aliases) + len(overlay.prices)


def check_configuration() -> Found:
    """Reads all sections of the file of GATEWAY_CONFIG, with the admin's rows where they were read."""
    MODELS.forget()
    AGENTS.forget()
    over = f" with {count} rows of the admin" if (count := _count_admin_rows()) else ""
    try:
        providers = models_config().providers
        entries = AGENTS.get()
        sections_load()
    except ConfigurationError as error:
        return "wrong", f"{error} (The file{over}.)"
    except GatewayError as error:
        return "wrong", error.message
    return "ok", f"{settings.GATEWAY_CONFIG}{over}: {len(providers)} providers, {len(entries)} agents."


def check_references() -> Found:
    """Finds names in the configuration that refer to nothing: aliases, default models, agents' types and tools."""
    try:
        found = dangling_references()
    except (ConfigurationError, GatewayError):
        return "warning", "not checked: the configuration is broken."
    if found:
        return "wrong", " ".join(found)
    return "ok", "every alias, default model, agent and tool that the configuration names is there."


def check_providers() -> Found:
    """Lists the providers that are usable, those without a key, named by its variable, and those switched off."""
    try:
        config = models_config()
    except ConfigurationError:
        return "warning", "not checked: the configuration is broken."
    on = {name: entry for name, entry in config.providers.items() if entry.enabled}
    usable = [name for name, entry in on.items() if entry.usable and not entry.assumed]
    local = ", ".join(name for name, entry in on.items() if entry.assumed)
    missing = [f"{name} ({entry.api_key_env})" for name, entry in on.items() if not entry.usable]
    off = ", ".join(name for name in config.providers if name not in on)
    text = f"usable: {', '.join(usable) or 'none'}; local, used where a request names them: {local or 'none'}"
    text += f"; without a key: {', '.join(missing) or 'none'}"
    return "ok", f"{text}; switched off: {off}." if off else f"{text}."
