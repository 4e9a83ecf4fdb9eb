"""The targets of a request, in order of preference: candidates for its model that can take its wire.

They follow from the configuration alone. A candidate whose wire is neither the client's nor convertible is left out.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote

from core_app.header_pairs import HeaderPairs
from core_app.lifecycle import process_wide
from inference_app.catalogue.access import candidates_allowed, substitution_allowed
from inference_app.catalogue.config import ModelsConfig, ProviderEntry, Wire
from inference_app.catalogue.resolution import Candidate, Resolution, model_candidates
from inference_app.errors import ModelNotFound, NoProvider
from inference_app.providers.quota import EXHAUSTED
from inference_app.relay.converter import ConverterFactory, Converters
from inference_app.request_kinds import CONVERTED, NATIVE, RequestKind, speaks
from tenants_app.principal import Principal

DEMO_WIRE: Wire = "openai-chat"
"""The wire on which `inference_app.relay.demo_provider` answers."""

MAX_REMEMBERED = 1024
"""Resolutions that are kept; clients may send any name."""


@dataclass(frozen=True, slots=True)
class Target:
    """One candidate, and the wire and kind of the request that it receives. `converter` None: without conversion.
    `substituted_for` is the model that was asked for, where the fallback chain serves another one."""

    candidate: Candidate
    kind: RequestKind
    wire: Wire
    converter: ConverterFactory | None
    substituted_for: str | None = None


class Targets:
    """The cache of resolutions, valid for one configuration. Weighted aliases are resolved anew each time."""

    def __init__(self) -> None:
        self._config: ModelsConfig | None = None
        self._known: dict[tuple[str, bool], Resolution] = {}

    def targets_for(
        self, config: ModelsConfig, name: str, kind: RequestKind, converters: Converters, principal: Principal
    ) -> list[Target]:
        """Returns at least one target; raises ModelNotFound or NoProvider if there is none."""
        resolution = self.resolution(config, name, substitution=substitution_allowed(principal))
        mine = candidates_allowed(principal.tenant_id, resolution, name)
        if not mine:
            raise _no_target_error(name, resolution)
        ready = [candidate for candidate in mine if candidate.provider not in EXHAUSTED]
        found = (_target(config, candidate, kind, converters) for candidate in ready)
        if targets := [target for target in found if target is not None]:
            return [replace(target, substituted_for=name) for target in targets] if resolution.substituted else targets
        if not ready:
            raise NoProvider("The quota of every provider of this model is exhausted.", retry_after=60)
        if kind == "embeddings":
            # No client should try again: a converter for embeddings cannot exist.
            raise ModelNotFound(name)
        raise NoProvider(f"No provider of '{name[:200]}' takes requests of this kind ({kind}).")

    def resolution(self, config: ModelsConfig, name: str, *, substitution: bool) -> Resolution:
        """Returns the candidates for a name, whoever asks."""
        if name in config.model_aliases:
            return model_candidates(config, name, substitution=substitution, draw=random.random)
        if config is not self._config or len(self._known) > MAX_REMEMBERED:
            self._config, self._known = config, {}
        known = self._known.get((name, substitution))
        if known is None or any(config.providers[keyless].usable for keyless in known.keyless):
            known = self._known[(name, substitution)] = model_candidates(config, name, substitution=substitution)
        return known


def _target(config: ModelsConfig, candidate: Candidate, kind: RequestKind, converters: Converters) -> Target | None:
    provider = config.providers[candidate.provider]
    if not provider.usable:
        return None
    native = NATIVE[kind]
    if provider.wire == "demo":
        return _demo_target(provider, candidate, kind, converters)
    if speaks(provider, native):
        return Target(candidate, kind, native, None)
    for wire in (provider.wire, *provider.also):
        if wire in converters:
            return Target(candidate, CONVERTED[wire], wire, converters[wire])
    return None


def _demo_target(
    provider: ProviderEntry, candidate: Candidate, kind: RequestKind, converters: Converters
) -> Target | None:
    """Returns the target of a model of the demo, which answers chat requests and nothing else."""
    if provider.model(candidate.model) is None or kind in ("embeddings", "count_tokens"):
        return None
    if kind == "chat":
        return Target(candidate, "chat", DEMO_WIRE, None)
    return Target(candidate, "chat", DEMO_WIRE, converters[DEMO_WIRE]) if DEMO_WIRE in converters else None


def _no_target_error(name: str, resolution: Resolution) -> ModelNotFound | NoProvider:
    """Returns the error for a name without targets. A model that the tenant may not use looks like an unknown one."""
    if resolution.keyless and not resolution.candidates:
        return NoProvider(f"'{name[:200]}' would be served by {', '.join(resolution.keyless)}, which has no key.")
    return ModelNotFound(name)


def unknown_fields(config: ModelsConfig, target: Target) -> Collection[str]:
    """Returns the fields of the request that the model is known to refuse: Anthropic's models without reasoning refuse
    an effort. Nothing is known about a model whose capabilities are not configured."""
    entry = config.providers[target.candidate.provider].model(target.candidate.model)
    known = None if entry is None else entry.capabilities
    return () if target.wire != "anthropic" or known is None or "reasoning" in known else _EFFORT


def substitution_headers(target: Target) -> HeaderPairs:
    """Returns the header that says that another model was asked for."""
    if target.substituted_for is None:
        return []
    return [(b"x-gateway-substituted-for", quote(target.substituted_for[:200], safe="/:.@+ ").encode())]


_EFFORT = ("reasoning", "reasoning_effort")


@lru_cache(maxsize=1024)
def target_headers(candidate: Candidate) -> HeaderPairs:
    """Returns the headers that name a candidate."""
    return [
        (b"x-gateway-provider", candidate.provider.encode()),
        (b"x-gateway-model", quote(candidate.model[:200], safe="/:.@+ ").encode()),
    ]


TARGETS = process_wide(Targets())
"""Process-wide instance."""
