"""The models that a tenant may use, as lists of models show them.

These are the configured models of usable providers, their defaults, the operator's aliases and the demo. Local
providers that are only assumed are not listed, but may be asked by name.
"""

from __future__ import annotations

from collections.abc import Iterator

from inference_app.catalogue.access import is_allowed
from inference_app.catalogue.config import ModelEntry, ModelsConfig, models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.relay.targets import TARGETS

ListedModel = tuple[str, str, ModelEntry | None]
"""A model's name, its provider, and its entry in the configuration, if it has one."""


def models_listed(tenant_id: int) -> Iterator[ListedModel]:
    """Yields the models that the tenant may use, each name once."""
    seen: set[str] = set()
    for model_id, owner, entry in _all(models_config()):
        candidate = Candidate(owner, model_id.removeprefix(f"{owner}:"))
        if model_id not in seen and is_allowed(tenant_id, candidate, model_id):
            seen.add(model_id)
            yield model_id, owner, entry


def _all(config: ModelsConfig) -> Iterator[ListedModel]:
    for name, provider in config.providers.items():
        if not provider.usable or provider.assumed or provider.wire == "demo":
            continue
        for entry in provider.models:
            yield entry.id, name, entry
        if provider.default_model:
            yield provider.default_model, name, provider.model(provider.default_model)
    for alias in config.model_aliases:
        resolution = TARGETS.resolution(config, alias, substitution=False)
        if resolution.candidates:
            first = resolution.candidates[0]
            yield alias, first.provider, config.providers[first.provider].model(first.model)
    # Last, because clients may take the first model; under the names by which it can be asked for.
    for name, provider in config.providers.items():
        if provider.wire == "demo" and provider.usable:
            yield from ((f"{name}:{entry.id}", name, entry) for entry in provider.models)
