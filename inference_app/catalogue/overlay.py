"""The overlay of the operator's rows over the configuration file: plain values without a database.

`inference_app.operator.operator_settings` reads them. Rows take precedence over the file, for providers field by
field. Keys from rows are kept outside the configuration, which refers to them by a name, as it does to environment
variables, so that no logged or compared value contains a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STORED_KEYS: dict[str, str] = {}
"""Decrypted keys, by their name in `api_key_env`."""


def stored_key_name(provider: str) -> str:
    """Returns the name of a row's key in the configuration. No environment variable can have such a name."""
    return f"the stored key of {provider}"


def is_stored_key_name(name: str) -> bool:
    """Returns True for a name that `stored_key_name` made."""
    return name.startswith(stored_key_name(""))


@dataclass(frozen=True, slots=True)
class Overlay:
    """The operator's rows: `providers`, `routes` and `aliases` in the form of the file, `prices` as (provider, model,
    price)."""

    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    routes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aliases: Mapping[str, Any] = field(default_factory=dict)
    prices: Sequence[tuple[str, str, Mapping[str, float]]] = ()

    def apply_to(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the file's section with the rows merged into it; prices are left to `add_prices`. What is no mapping
        in the file is left for its validation to refuse."""
        given = dict(section)
        for name, rows in (("model_routing", self.routes), ("model_aliases", self.aliases)):
            if isinstance(there := given.get(name) or {}, Mapping):
                given[name] = {**there, **rows}
        if not isinstance(there := given.get("providers") or {}, Mapping):
            return given
        providers = dict(there)
        for name, row in self.providers.items():
            if not isinstance(before := providers.get(name) or {}, Mapping):
                continue
            entry = {key: value for key, value in before.items() if not _is_replaced(key, row)}
            providers[name] = {**entry, **row}
        given["providers"] = providers
        return given

    def add_prices(self, providers: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the providers with the rows' prices set on their models."""
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
    """Returns True if the row has a key setting that replaces this one; a provider has `api_key` or `api_key_env`."""
    return key in {"api_key", "api_key_env"} and bool({"api_key", "api_key_env"} & set(row))


_NOW: list[Overlay] = [Overlay()]


def overlay_now() -> Overlay:
    """Returns the overlay in force."""
    return _NOW[0]


def overlay_replace(overlay: Overlay, keys: Mapping[str, str]) -> None:
    """Replaces the overlay and the stored keys; `keys` are decrypted, by `stored_key_name`."""
    STORED_KEYS.clear()
    STORED_KEYS.update(keys)
    _NOW[0] = overlay
