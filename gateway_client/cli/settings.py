"""The gateway that the command line speaks to: from options, the environment, or the person's configuration file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway_client.errors import GatewayError

URL_VARIABLE, KEY_VARIABLE = "AGENT_GATEWAY_URL", "AGENT_GATEWAY_API_KEY"
DEFAULT_URL = "http://127.0.0.1:4000"
FIELDS = ("url", "api_key", "model")
TEMPLATE = f'''# The configuration of agent-gateway. {URL_VARIABLE} and {KEY_VARIABLE} precede it.
# url = "{DEFAULT_URL}"
# api_key = ""
# The model of `agent-gateway chat`:
# model = "demo:tour"
'''


@dataclass(frozen=True, slots=True)
class Settings:
    """An address, a key (empty when there is none) and where each came from."""

    url: str
    api_key: str
    model: str | None
    sources: Mapping[str, str]

    @property
    def shown_key(self) -> str:
        """The key as it may be shown."""
        return f"{self.api_key[:4]}…{self.api_key[-2:]}" if len(self.api_key) > 12 else "…" if self.api_key else ""


def config_directory() -> Path:
    """Returns the directory of the person's configuration, which need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "agent-gateway"


def config_path() -> Path:
    return config_directory() / "config.toml"


def settings_load(url: str | None) -> Settings:
    """Returns the settings; `url` is the option's. Raises GatewayError for a file or an address that is not one."""
    found = _file_fields()
    sources = {name: str(config_path()) for name in found}
    for name, variable in (("url", URL_VARIABLE), ("api_key", KEY_VARIABLE)):
        if value := os.environ.get(variable, "").strip():
            found[name], sources[name] = value, variable
    if url:
        found["url"], sources["url"] = url, "--url"
    address = found.get("url", DEFAULT_URL).rstrip("/")
    return Settings(_checked(address, sources.get("url", "")), found.get("api_key", ""), found.get("model"), sources)


def _checked(address: str, source: str) -> str:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise GatewayError(f"{source or 'The address'} is not an address like {DEFAULT_URL}: '{address}'.")
    return address


def _file_fields() -> dict[str, str]:
    path = config_path()
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise GatewayError(f"{path} cannot be read ({error}): mend it with 'agent-gateway config edit'.") from error
    unknown = [name for name, value in fields.items() if name not in FIELDS or not isinstance(value, str)]
    if unknown:
        raise GatewayError(f"{path}: '{unknown[0]}' is not a setting; there are {', '.join(FIELDS)}, all of them text.")
    return {name: value for name, value in fields.items() if value}
