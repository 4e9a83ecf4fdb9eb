"""Health of the providers: from what is known without a request, such as their last answer to a relayed call, and from
a probe that lists their models, which some allow to everybody.

A probe takes 5 s at most and is remembered for 30 s; simultaneous probes of one provider are one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from core_app import clock
from inference_app.catalogue.config import ModelsConfig, ProviderEntry, models_config
from inference_app.providers.circuit_state import State
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.fault_sentences import fault_sentence
from inference_app.providers.quota import EXHAUSTED
from inference_app.providers.retry_policy import Fault
from inference_app.providers.stats import STATS
from inference_app.providers.upstreams import UPSTREAMS, identity_headers
from inference_app.request_kinds import models_url

PROBE_SECONDS = 5.0
KEPT_SECONDS = 30.0
MAX_PROBE_BYTES = 4 * 1024 * 1024

_WORST: dict[State, int] = {"CLOSED": 0, "HALF_OPEN": 1, "OPEN": 2}
_probes: dict[str, tuple[float, asyncio.Task[dict[str, Any]]]] = {}


def health_report() -> dict[str, Any]:
    """Returns the body of `/model-gateway/health`, without a request to any provider."""
    config, known = models_config(), STATS.providers()
    answers: dict[str, Any] = {}
    available: list[dict[str, str]] = []
    unavailable: list[dict[str, str]] = []
    failing = False
    for name, provider in _listed_providers(config):
        stats = known.get(name)
        if stats is not None and (answer := stats.last_answer()) is not None:
            answers[name] = answer
        state = provider_state(name, provider)
        (available if state.is_good else unavailable).append({"name": name, "summary": state.reason})
        failing = failing or state.state in FAILING
    status = "down" if not available else "degraded" if failing else "ok"
    return {
        "status": status,
        "timestamp": int(time.time() * 1000),
        "providers_available": available,
        "providers_unavailable": unavailable,
        "last_answers": answers,
    }


def worst_circuit(provider: str) -> State:
    """Returns the worst state among a provider's circuits: one of its models may fail while others work."""
    states = [CIRCUITS.state(candidate) for candidate in CIRCUITS if candidate.provider == provider]
    return max(states, key=lambda state: _WORST[state], default="CLOSED")


async def probe_providers() -> list[dict[str, Any]]:
    """Probes every provider that has what it needs to be asked."""
    names = [name for name, provider in _listed_providers(models_config()) if provider.usable]
    return list(await asyncio.gather(*(probe_provider(name) for name in names)))


async def probe_provider(name: str) -> dict[str, Any]:
    """Returns the result of a provider's probe; `unknown` for one without a key."""
    known = _probes.get(name)
    running = known is not None and (not known[1].done() or time.monotonic() - known[0] < KEPT_SECONDS)
    if known is None or not running or known[1].get_loop() is not asyncio.get_running_loop():
        known = _probes[name] = (time.monotonic(), asyncio.create_task(_probe(name, models_config())))
    stats = STATS.providers().get(name)
    answer = None if stats is None else stats.last_answer()
    found = {**await asyncio.shield(known[1]), "circuit": worst_circuit(name)}
    return found if answer is None else {**found, "last_answer": answer}


def forget_probes() -> None:
    """Forgets all results, so that the next probe asks anew."""
    _probes.clear()


def _listed_providers(config: ModelsConfig) -> Iterator[tuple[str, ProviderEntry]]:
    return ((name, entry) for name, entry in config.providers.items() if entry.wire != "demo" and not entry.assumed)


_STANDING = frozenset({"key", "account", "connect"})
"""Reasons of failures that stay until the operator does something; others may be over by now."""


STATES = ("ready", "local", "off", "no_key", "circuit_open", "quota_exhausted", "failing")
"""The states of a provider: the first two are asked, the next two lack something, the others failed."""

FAILING = frozenset({"circuit_open", "quota_exhausted", "failing"})


@dataclass(frozen=True, slots=True)
class ProviderState:
    """One of STATES, with the reason in words."""

    state: str
    reason: str

    @property
    def is_good(self) -> bool:
        """True for a provider that is asked."""
        return self.state in ("ready", "local")


def provider_state(name: str, provider: ProviderEntry) -> ProviderState:
    """Returns the state as this process knows it, without a request."""
    if not provider.enabled:
        return ProviderState("off", "switched off")
    if not provider.usable:
        return ProviderState("no_key", f"no key ({provider.api_key_env})")
    if worst_circuit(name) == "OPEN":
        models = [c.model for c in CIRCUITS if c.provider == name and CIRCUITS.state(c) == "OPEN"]
        return ProviderState("circuit_open", f"circuit open: {', '.join(sorted(models)[:5])}")
    if name in EXHAUSTED:
        return ProviderState("quota_exhausted", "quota exhausted")
    stats = STATS.providers().get(name)
    if stats is not None and stats.fault is not None and stats.fault_reason in _STANDING:
        return ProviderState("failing", stats.fault)
    if provider.assumed:
        return ProviderState("local", "asked only by name, because nobody configured it")
    return ProviderState("ready", "ready")


async def _probe(name: str, config: ModelsConfig) -> dict[str, Any]:
    provider = config.providers[name]
    checked = {"provider": name, "status": "unknown", "latency_ms": None, "checked_at": clock.iso_ms(clock.now())}
    if not provider.usable or provider.wire == "demo":
        return checked
    began = time.perf_counter()
    error = await _ask(name, provider)
    latency = round((time.perf_counter() - began) * 1000, 1)
    if error is None:
        return {**checked, "status": "healthy", "latency_ms": latency}
    return {**checked, "status": "unhealthy", "latency_ms": latency, "error": error}


async def _ask(name: str, provider: ProviderEntry) -> str | None:
    """Returns a short reason if the provider does not respond well, never text of its response; None if it does."""
    try:
        async with (
            asyncio.timeout(PROBE_SECONDS),
            UPSTREAMS.session().get(
                models_url(provider), headers=identity_headers(provider, provider.wire), allow_redirects=False
            ) as response,
        ):
            if response.status == 200:
                return None
            if response.status in (401, 402, 403, 429):
                return fault_sentence(name, provider, Fault("status", str(response.status), response.status))
            return f"status {response.status}"
    except TimeoutError:
        return "timeout"
    except (aiohttp.ClientError, OSError, ValueError):
        return "connection failed"
