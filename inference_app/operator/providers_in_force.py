"""The providers in force, each with its sources and state: what the admin, the REST API and the command line list.

A provider may come from several sources, which take precedence in this order: the operator's rows in the database, the
configuration file, the shipped table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from core_app.config_file import ConfigurationError, read
from inference_app.catalogue.config import ProviderEntry, models_config
from inference_app.catalogue.overlay import is_stored_key_name
from inference_app.catalogue.shipped import PROVIDERS
from inference_app.models import Provider
from inference_app.providers.health import ProviderState, provider_state

DATABASE, FILE, SHIPPED = "database", "file", "shipped"
SOURCES = (DATABASE, FILE, SHIPPED)


@dataclass(frozen=True, slots=True)
class ProviderInForce:
    """A provider. `row` is what the database has of it; `sources` are in the order of their precedence."""

    name: str
    entry: ProviderEntry
    sources: tuple[str, ...]
    state: ProviderState
    row: Provider | None

    @property
    def key_from(self) -> str | None:
        """The source of the key: `stored`, or the name of a variable; None for a provider that needs none."""
        variable = self.entry.api_key_env
        return "stored" if variable is not None and is_stored_key_name(variable) else variable


def providers_in_force() -> list[ProviderInForce]:
    """Returns the providers, in the order in which the gateway prefers them.

    Rows that were saved a moment ago may not be in force yet: every process applies them within seconds.
    """
    rows = {row.name: row for row in Provider.objects.all()}
    in_file = _names_in_file()
    return [
        ProviderInForce(name, entry, _sources(name, rows, in_file), provider_state(name, entry), rows.get(name))
        for name, entry in models_config().providers.items()
    ]


def provider_in_force(name: str) -> ProviderInForce | None:
    """Returns the provider; None where there is none of that name."""
    return next((provider for provider in providers_in_force() if provider.name == name), None)


def _sources(name: str, rows: dict[str, Provider], in_file: frozenset[str]) -> tuple[str, ...]:
    known = {DATABASE: name in rows, FILE: name in in_file, SHIPPED: name in PROVIDERS}
    return tuple(source for source in SOURCES if known[source])


def _names_in_file() -> frozenset[str]:
    """Returns the names under `models.providers` in the file as it is now; none while it cannot be read."""
    try:
        section = read(Path(settings.GATEWAY_CONFIG)).get("models")
    except ConfigurationError:
        return frozenset()
    providers = section.get("providers") if isinstance(section, dict) else None
    return frozenset(map(str, providers)) if isinstance(providers, dict) else frozenset()
