"""What an operator's rows lay over the configuration file: plain values, made by
`inference_app.operator.operator_settings`.

Rows win, field by field for providers. Keys of rows are kept apart from the configuration, which names them as it
names variables of the environment, so that no secret is in a value that is logged or compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STORED_KEYS: dict[str, str] = {}
"""Opened secrets by the name that `api_key_env` gives them."""


def stored_key_name(provider: str) -> str:
    """What the configuration calls a row's key; no variable can have such a name."""
    return f"the stored key of {provider}"


@dataclass(frozen=True, slots=True)
class Overlay:
    """`providers`, `routes` and `aliases` as the file writes them; `prices` are (provider, model, price)."""

    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    routes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aliases: Mapping[str, Any] = field(default_factory=dict)
    prices: Sequence[tuple[str, str, Mapping[str, float]]] = ()

    def apply_to(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """The file's section with the rows in it."""
        given = dict(section)
        for name, rows in (("model_routing", self.routes), ("model_aliases", self.aliases)):
            given[name] = {**(given.get(name) or {}), **rows}
        providers = dict(given.get("providers") or {})
        for name, row in self.providers.items():
            entry = {key: value for key, value in (providers.get(name) or {}).items() if not _is_replaced(key, row)}
            providers[name] = {**entry, **row}
        given["providers"] = providers
        return given

    def add_prices(self, providers: Mapping[str, Any]) -> dict[str, Any]:
        """The providers with the rows' prices at their models."""
        priced = dict(providers)
        for provider, model, price in self.prices:
            if (entry := priced.get(provider)) is None:
                continue
            models: list[dict[str, Any]] = [
                {"id": item} if isinstance(item, str) else dict(item) for item in entry.get("models") or ()
            ]
            known = next((item for item in models if item.get("id") == model), None)
            if known is None:
                models.append({"id": model, "price": dict(price)})
            else:
                known["price"] = dict(price)
            priced[provider] = {**entry, "models": models}
        return priced


def _is_replaced(key: str, row: Mapping[str, Any]) -> bool:
    """A provider has either a named key or none."""
    return key in {"api_key", "api_key_env"} and bool({"api_key", "api_key_env"} & set(row))


_NOW: list[Overlay] = [Overlay()]


def overlay_now() -> Overlay:
    """The rows in force."""
    return _NOW[0]


def overlay_replace(overlay: Overlay, keys: Mapping[str, str]) -> None:
    """The rows as they are now; `keys` are opened secrets by `stored_key_name`."""
    STORED_KEYS.clear()
    STORED_KEYS.update(keys)
    _NOW[0] = overlay
