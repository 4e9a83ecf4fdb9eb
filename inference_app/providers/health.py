"""How the providers are: from what is known without asking, and from a probe that asks for their models.

A probe takes 5 s at most and is remembered for 30; probes of one provider that come together are one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import aiohttp

from core_app import clock
from inference_app.catalogue.config import ModelsConfig, ProviderEntry, models_config
from inference_app.providers.circuits import CIRCUITS, State
from inference_app.providers.quota import EXHAUSTED
from inference_app.providers.upstreams import UPSTREAMS, identification
from inference_app.request_kinds import models_url

PROBE_SECONDS = 5.0
KEPT_SECONDS = 30.0
MAX_PROBE_BYTES = 4 * 1024 * 1024

_WORST: dict[State, int] = {"CLOSED": 0, "HALF_OPEN": 1, "OPEN": 2}
_probes: dict[str, tuple[float, asyncio.Task[dict[str, Any]]]] = {}


def health() -> dict[str, Any]:
    """The contract's `/model-gateway/health`; asks nobody."""
    config = models_config()
    available: list[dict[str, str]] = []
    unavailable: list[dict[str, str]] = []
    for name, provider in _shown(config):
        summary, good = _summary(name, provider)
        (available if good else unavailable).append({"name": name, "summary": summary})
    resting = any(not entry["summary"].startswith("no key") for entry in unavailable)
    status = "down" if not available else "degraded" if resting else "ok"
    return {
        "status": status,
        "timestamp": int(time.time() * 1000),
        "providers_available": available,
        "providers_unavailable": unavailable,
    }


def circuit_of(provider: str) -> State:
    """The worst of a provider's circuits: one of its models may fail while the others answer."""
    states = [CIRCUITS.state(candidate) for candidate, _ in CIRCUITS if candidate.provider == provider]
    return max(states, key=lambda state: _WORST[state], default="CLOSED")


async def probed_all() -> list[dict[str, Any]]:
    """A probe of every provider that could be asked."""
    names = [name for name, provider in _shown(models_config()) if provider.usable]
    return list(await asyncio.gather(*(probed(name) for name in names)))


async def probed(name: str) -> dict[str, Any]:
    """One provider's probe; `unknown` for one without a key."""
    known = _probes.get(name)
    running = known is not None and (not known[1].done() or time.monotonic() - known[0] < KEPT_SECONDS)
    if known is None or not running or known[1].get_loop() is not asyncio.get_running_loop():
        known = _probes[name] = (time.monotonic(), asyncio.create_task(_probe(name, models_config())))
    return {**await asyncio.shield(known[1]), "circuit": circuit_of(name)}


def probes_forget() -> None:
    """The next look is a new one."""
    _probes.clear()


def _shown(config: ModelsConfig) -> Iterator[tuple[str, ProviderEntry]]:
    return ((name, entry) for name, entry in config.providers.items() if entry.wire != "demo" and not entry.assumed)


def _summary(name: str, provider: ProviderEntry) -> tuple[str, bool]:
    if not provider.usable:
        return f"no key ({provider.api_key_env})", False
    if circuit_of(name) == "OPEN":
        models = [c.model for c, _ in CIRCUITS if c.provider == name and CIRCUITS.state(c) == "OPEN"]
        return f"circuit open: {', '.join(sorted(models)[:5])}", False
    if name in EXHAUSTED:
        return "quota exhausted", False
    return "ready", True


async def _probe(name: str, config: ModelsConfig) -> dict[str, Any]:
    provider = config.providers[name]
    checked = {"provider": name, "status": "unknown", "latency_ms": None, "checked_at": clock.iso_ms(clock.now())}
    if not provider.usable or provider.wire == "demo":
        return checked
    began = time.perf_counter()
    error = await _asked(provider)
    latency = round((time.perf_counter() - began) * 1000, 1)
    if error is None:
        return {**checked, "status": "healthy", "latency_ms": latency}
    return {**checked, "status": "unhealthy", "latency_ms": latency, "error": error}


async def _asked(provider: ProviderEntry) -> str | None:
    """What is wrong, in a word; never the text of an answer."""
    try:
        async with (
            asyncio.timeout(PROBE_SECONDS),
            UPSTREAMS.session().get(
                models_url(provider), headers=identification(provider, provider.wire), allow_redirects=False
            ) as response,
        ):
            return None if response.status == 200 else f"status {response.status}"
    except TimeoutError:
        return "timeout"
    except (aiohttp.ClientError, OSError, ValueError):
        return "connection failed"
