"""The resolution of a public model name to the candidates that can serve it, in order. Pure functions over the
configuration.

1. exact alias  2. `provider/model` or `provider:model`  3. longest prefix in `model_routing`
4. a provider that lists the model  5. `fallback_chain`, only where substitution is allowed.
The first rule that yields a usable candidate applies; providers whose key is missing are skipped. A name that a
provider lists as it is (`openai/gpt-x` at a reseller, `mistral:7b`) is never split by rule 2.
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
    """A configured provider and the name of a model there."""

    provider: str
    model: str

    @property
    def name(self) -> str:
        return f"{self.provider}:{self.model}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """The result for one name. `candidates` are in the order in which to try them; `keyless` are the providers that
    were skipped because their key is missing; `substituted` is True if rule 5 replaced the requested model."""

    candidates: tuple[Candidate, ...]
    keyless: tuple[str, ...] = ()
    substituted: bool = False


def model_candidates(
    config: ModelsConfig, name: str, *, substitution: bool = False, draw: Callable[[], float] | None = None
) -> Resolution:
    """Resolves a public name. `draw` returns a random number in [0, 1) and makes the order of an alias's targets a
    weighted random one; without it targets are ordered by weight, the heaviest first."""
    found: list[Candidate] = []
    if targets := config.model_aliases.get(name):
        for target in _order_targets(targets, draw):
            found += named_candidates(config, target.model)
    else:
        found = named_candidates(config, name)
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
    """Returns the candidate of a name such as `provider:model` or `provider/model`; None when the text before the first
    separator is not a provider (`qwen3:14b` is the name of a model)."""
    head, *rest = _SEPARATOR.split(name, maxsplit=1)
    return Candidate(head, rest[0]) if rest and rest[0] and head in config.providers else None


def default_candidate(config: ModelsConfig) -> str:
    """Returns the public name of the default model: `default_model` if it has a usable candidate, else the model of the
    first provider with a key (one that needs no key is local and may not run), else the demo."""
    if config.default_model and model_candidates(config, config.default_model).candidates:
        return config.default_model
    for name, provider in config.providers.items():
        if provider.default_model and provider.key is not None:
            return Candidate(name, provider.default_model).name
    return DEMO


def named_candidates(config: ModelsConfig, name: str) -> list[Candidate]:
    """Returns the candidates of a name that is no alias, by rules 2 to 4, usable or not. When all providers of rule 3
    lack their key, those of rule 4 are added behind them."""
    listing = [Candidate(key, name) for key, provider in config.providers.items() if provider.model(name)]
    if outright := provider_of(config, name):
        return listing if _split_by_key(config, listing)[0] else [outright, *listing]
    found: list[Candidate] = []
    prefix = max((key for key in config.model_routing if name.startswith(key)), key=len, default=None)
    if prefix is not None:
        found = [Candidate(provider, _model_at(config, provider, name)) for provider in config.model_routing[prefix]]
        if _split_by_key(config, found)[0]:
            return found
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
    # Efraimidis and Spirakis: sorting by u^(1/w) is weighted sampling without replacement.
    return sorted(targets, key=lambda target: -(draw() ** (1 / target.weight)) if target.weight else 1.0)
