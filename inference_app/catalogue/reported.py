"""Names of models in metrics and daily sums: those that the operator configured, all others as one.

Clients may send any name to a provider that lists no models, and every name would be a time series and a row a day. The
ledger has each call's own name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from core_app.lifecycle import process_wide
from inference_app.catalogue.config import ModelsConfig
from inference_app.catalogue.resolution import DEMO, Candidate, named_candidates, provider_of

OTHER = "other"


class ReportedModels:
    """The configured models, gathered once for one configuration."""

    def __init__(self) -> None:
        self._config: ModelsConfig | None = None
        self._configured: Collection[Candidate] = ()

    def model(self, config: ModelsConfig, candidate: Candidate) -> str:
        """Returns the model's name at its provider, or OTHER."""
        return candidate.model if candidate in self.list_configured(config) else OTHER

    def list_configured(self, config: ModelsConfig) -> Collection[Candidate]:
        """Returns the configured models."""
        if config is not self._config:
            self._config, self._configured = config, frozenset(_configured(config))
        return self._configured

    def name(self, config: ModelsConfig, name: str) -> str:
        """Returns a name such as `provider:model`, or OTHER."""
        candidate = provider_of(config, name)
        known = candidate is not None and self.model(config, candidate) != OTHER
        return name if known or name == DEMO else OTHER


def _configured(config: ModelsConfig) -> Iterator[Candidate]:
    for key, provider in config.providers.items():
        yield from (Candidate(key, entry.id) for entry in provider.models)
        if provider.default_model:
            yield Candidate(key, provider.default_model)
    for targets in config.model_aliases.values():
        for target in targets:
            yield from named_candidates(config, target.model)
    if config.default_model:
        yield from named_candidates(config, config.default_model)


REPORTED = process_wide(ReportedModels())
"""Process-wide instance."""
