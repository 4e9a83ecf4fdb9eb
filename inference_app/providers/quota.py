"""Quotas: what is left of the operator's own accounts at providers, read on a timer and never in a request.

OpenRouter and DeepSeek report their balance, and `codexbar` where that program exists; local providers are always
available. Routing skips a provider whose source reports that nothing is left; a source that does not respond excludes
none. Sources that are not providers are only listed.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import structlog

from core_app.lifecycle import Periodic, process_wide
from inference_app.catalogue.config import ProviderEntry, models_config
from inference_app.providers.upstreams import UPSTREAMS, identity_headers

REFRESH_SECONDS = 60.0
SOURCE_SECONDS = 10.0
MAX_BYTES = 1024 * 1024
CODEXBAR = ("codexbar", "usage", "--format", "json", "--provider", "all")
_CURRENCIES = {"CNY": "¥", "USD": "$"}

logger = structlog.get_logger("gateway.quota")

EXHAUSTED: set[str] = set()
"""Names of the providers where nothing is left on the operator's account; routing skips them."""


@dataclass(frozen=True, slots=True)
class Quota:
    """The quota at one source. `balance` is in the account's currency, `used_percent` a share of an allowance."""

    provider: str
    available: bool
    summary: str
    used_percent: float | None = None
    balance: float | None = None

    def to_wire(self) -> dict[str, Any]:
        shape: dict[str, Any] = {"provider": self.provider, "available": self.available}
        if self.used_percent is not None:
            shape["usedPercent"] = self.used_percent
        if self.balance is not None:
            shape["balance"] = self.balance
        return {**shape, "summary": self.summary}


class Quotas(Periodic):
    """The quotas as they were last read, a part of the process (`core_app.lifecycle`)."""

    def __init__(self) -> None:
        super().__init__("quota", self.refresh, REFRESH_SECONDS)
        self._known: dict[str, Quota] = {}

    async def stop(self) -> None:
        """Ends the reading and forgets the quotas."""
        await super().stop()
        self._known.clear()
        EXHAUSTED.clear()

    def to_wire(self) -> dict[str, Any]:
        """Returns the body of `/model-gateway/quota`."""
        local = {name: Quota(name, True, "Local - always available") for name, entry in _local()}
        return {name: quota.to_wire() for name, quota in sorted((local | self._known).items())}

    @property
    def known(self) -> Collection[Quota]:
        """The quotas of configured providers."""
        providers = models_config().providers
        return [quota for name, quota in self._known.items() if name in providers]

    async def refresh(self) -> None:
        """Reads every source once; one that fails keeps its last quota."""
        providers = models_config().providers
        asked = {name: ask(providers[name]) for name, ask in _SOURCES.items() if _is_asked(providers.get(name))}
        found = await asyncio.gather(*asked.values(), return_exceptions=True)
        for name, answer in zip(asked, found, strict=True):
            if isinstance(answer, Quota):
                self._known[name] = answer
            elif isinstance(answer, Exception):
                logger.info("quota_not_known", provider=name, reason=type(answer).__name__)
        self._known.update({quota.provider: quota for quota in await _read_codexbar()})
        EXHAUSTED.clear()
        EXHAUSTED.update(name for name, quota in self._known.items() if name in providers and not quota.available)

    def _log_failure(self, error: Exception) -> None:
        """Logs a failed refresh: a source may answer anything."""
        logger.error("quota_not_refreshed", exc_info=error)


def _is_asked(provider: ProviderEntry | None) -> bool:
    return provider is not None and provider.key is not None


def _local() -> list[tuple[str, ProviderEntry]]:
    return [
        (name, entry)
        for name, entry in models_config().providers.items()
        if entry.api_key == "none" and entry.wire != "demo" and not entry.assumed
    ]


async def _openrouter(provider: ProviderEntry) -> Quota:
    data = (await _fetch_json(provider, "/credits"))["data"]
    left = float(data["total_credits"]) - float(data["total_usage"])
    return Quota("openrouter", left > 0, f"Balance: ${left:.2f}", balance=round(left, 4))


async def _deepseek(provider: ProviderEntry) -> Quota:
    base = provider.base_url.removesuffix("/v1")
    answer = await _fetch_json(provider, "/user/balance", base)
    infos = answer["balance_infos"]
    sums = ", ".join(
        f"{_CURRENCIES.get(info['currency'], info['currency'] + ' ')}{info['total_balance']}" for info in infos
    )
    balance = float(infos[0]["total_balance"]) if infos else 0.0
    return Quota("deepseek", bool(answer["is_available"]), f"Balance: {sums or '0'}", balance=balance)


async def _fetch_json(provider: ProviderEntry, path: str, base: str | None = None) -> Any:
    url = (base or provider.base_url).rstrip("/") + path
    async with (
        asyncio.timeout(SOURCE_SECONDS),
        UPSTREAMS.session().get(
            url, headers=identity_headers(provider, provider.wire), allow_redirects=False
        ) as answer,
    ):
        if answer.status != 200:
            raise aiohttp.ClientError(f"status {answer.status}")
        return msgspec.json.decode(await answer.content.read(MAX_BYTES))


_SOURCES = {"openrouter": _openrouter, "deepseek": _deepseek}


async def _read_codexbar() -> list[Quota]:
    """Reads the quotas of coding subscriptions from `codexbar`; none if it is not installed or does not respond."""
    if shutil.which(CODEXBAR[0]) is None:
        return []
    process = await asyncio.create_subprocess_exec(
        *CODEXBAR, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(SOURCE_SECONDS):
            output, _ = await process.communicate()
        return parse_codexbar(output)
    except (TimeoutError, msgspec.DecodeError):
        return []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def parse_codexbar(output: bytes) -> list[Quota]:
    """Parses its JSON: a list of providers, each with windows that say how much of them is used."""
    document = msgspec.json.decode(output)
    found = []
    for entry in document if isinstance(document, list) else [document]:
        if not isinstance(entry, Mapping) or not isinstance(name := entry.get("provider"), str):
            continue
        used = [float(percent) for percent in _percents(entry.get("usage"))]
        worst = max(used, default=None)
        summary = "no usage known" if worst is None else f"{worst:g}% used"
        found.append(Quota(name, worst is None or worst < 100, summary, used_percent=worst))
    return found


def _percents(usage: Any) -> list[float]:
    windows = usage.values() if isinstance(usage, Mapping) else ()
    given = [window.get("usedPercent") for window in windows if isinstance(window, Mapping)]
    return [percent for percent in given if isinstance(percent, int | float)]


QUOTAS = process_wide(Quotas())
"""Process-wide instance, started by `Gateway`."""
