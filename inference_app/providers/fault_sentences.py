"""Provider faults in words: a sentence that names the provider, the cause, and the setting to look at.

Operators read them in the log and on the health pages, callers in the error. No sentence has text of the provider, a
key, or the address of the operator's own servers.
"""

from __future__ import annotations

import math

from inference_app.catalogue.config import ProviderEntry
from inference_app.providers.retry_policy import Fault

_CONNECTING = {
    "name_not_resolved": "its host name does not resolve; check {base_url}.",
    "tls_failed": "the connection to it is not secure: its certificate is not accepted; check {base_url}.",
    "connect_timeout": "its address does not answer; check {base_url} ({timeout}.connect limits the wait).",
    "connection_failed": "no connection can be made, nothing listens at its address; check {base_url}.",
}


def fault_sentence(name: str, provider: ProviderEntry, fault: Fault) -> str:
    """Returns the sentence for a fault of the provider `name`."""
    if (cause := _CONNECTING.get(fault.code)) is not None and fault.kind == "connect":
        setting = f"models.providers.{name}"
        return f"{name}: " + cause.format(base_url=f"{setting}.base_url", timeout=f"{setting}.timeout")
    if fault.status == 401:
        return f"{name} refused the key of this gateway ({fault.code}); check {key_setting(name, provider)}."
    if fault.status == 403:
        return f"{name} refused access ({fault.code}); check what the key in {key_setting(name, provider)} may use."
    if fault.status == 402:
        setting = key_setting(name, provider)
        return f"The account at {name} is spent ({fault.code}); top it up, or set another account's key in {setting}."
    if fault.is_rate_limit:
        return f"{name} limits the rate of requests ({fault.code}){_when(fault.retry_after)}."
    if fault.kind == "timeout":
        return f"{name}: timeout; it did not answer within the limits of models.providers.{name}.timeout."
    return f"{name}: {fault.code}"


def key_setting(name: str, provider: ProviderEntry) -> str:
    """Returns the name of the variable, or of the setting, that has the provider's key."""
    return provider.api_key_env or f"models.providers.{name}.api_key_env"


def _when(seconds: float | None) -> str:
    return "" if seconds is None else f"; try again in {max(1, math.ceil(seconds))} s"
