"""From a public model name to the candidates that can serve it, in order: pure functions over the configuration.

1. exact alias  2. `provider/model` or `provider:model`  3. longest prefix in `model_routing`
4. a provider that lists the model  5. `fallback_chain`, only where substitution is allowed.
The first rule that yields a usable candidate wins; providers whose key is missing are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference_app.catalogue.config import AliasTarget, ModelsConfig

DEMO = "demo:tour"
_SEPARATOR = re.compile("[:/]")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider of the configuration and the model's name there."""

    provider: str
    model: str

    @property
    def name(self) -> str:
        return f"{self.provider}:{self.model}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """`candidates` in the order to try them; `keyless` names the providers that would have served it with a key;
    `substituted` says that rule 5 put another model in the asked one's place."""

    candidates: tuple[Candidate, ...]
    keyless: tuple[str, ...] = ()
    substituted: bool = False


def model_candidates(
    config: ModelsConfig, name: str, *, substitution: bool = False, draw: Callable[[], float] | None = None
) -> Resolution:
    """Resolves a public name. `draw` (a number in [0, 1) per call) orders an alias's targets by weighted chance;
    without it the heaviest comes first."""
    found: list[Candidate] = []
    if targets := config.model_aliases.get(name):
        for target in _order_targets(targets, draw):
            found += _find_candidates(config, target.model)
    else:
        found = _find_candidates(config, name)
    usable, keyless = _split_by_key(config, found)
    if usable or not substitution:
        return Resolution(usable, keyless)
    chain_configured = "fallback_chain" in config.model_fields_set
    chain = [
        Candidate(name, provider.default_model)
        for name in config.fallback_chain
        if (provider := config.providers[name]).default_model and (chain_configured or not provider.assumed)
    ]
    return Resolution(_split_by_key(config, chain)[0], keyless, substituted=True)


def provider_of(config: ModelsConfig, name: str) -> Candidate | None:
    """The candidate a `provider:model` or `provider/model` names outright; None when the part before the first
    separator is no provider (`qwen3:14b` is a model's name)."""
    head, *rest = _SEPARATOR.split(name, maxsplit=1)
    return Candidate(head, rest[0]) if rest and rest[0] and head in config.providers else None


def default_candidate(config: ModelsConfig) -> str:
    """The public name of the default: `default_model` where it can be served, else the first provider with a key of
    its own (a local one that needs none may not run), else the demo."""
    if config.default_model and model_candidates(config, config.default_model).candidates:
        return config.default_model
    for name, provider in config.providers.items():
        if provider.default_model and provider.key is not None:
            return Candidate(name, provider.default_model).name
    return DEMO


def _find_candidates(config: ModelsConfig, name: str) -> list[Candidate]:
    """Rules 2 to 4; a rule whose every provider lacks its key gives way to the next, and keeps being named."""
    if outright := provider_of(config, name):
        return [outright]
    found: list[Candidate] = []
    prefix = max((key for key in config.model_routing if name.startswith(key)), key=len, default=None)
    if prefix is not None:
        found = [
            Candidate(provider, _model_at(config, provider, name)) for provider in config.model_routing[prefix]
        ]
        if _split_by_key(config, found)[0]:
            return found
    listing = [Candidate(key, name) for key, provider in config.providers.items() if provider.model(name)]
    return [*found, *(candidate for candidate in listing if candidate not in found)]


def _model_at(config: ModelsConfig, provider: str, name: str) -> str:
    prefixes = config.providers[provider].model_prefixes
    best = max((key for key in prefixes if name.startswith(key)), key=len, default=None)
    return name if best is None else prefixes[best] + name


def _split_by_key(config: ModelsConfig, found: Sequence[Candidate]) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    usable = tuple(candidate for candidate in found if config.providers[candidate.provider].usable)
    keyless = tuple(c.provider for c in found if not config.providers[c.provider].usable)
    return usable, keyless


def _order_targets(targets: Sequence[AliasTarget], draw: Callable[[], float] | None) -> list[AliasTarget]:
    if draw is None:
        return sorted(targets, key=lambda target: -target.weight)
    # Efraimidis and Spirakis: sorting by u^(1/w) draws without replacement, in proportion to the weights.
    return sorted(targets, key=lambda target: -(draw() ** (1 / target.weight)) if target.weight else 1.0)
