"""The section `models:` of the configuration: providers, routing, aliases, fallback and the relay's policies.

The section is typed and closed: an unknown field is an error that names its path. Shipped providers need no entry; an
entry of the same name changes only the fields that it contains. The configuration holds the names of the environment
variables with the keys, and a key is read when it is needed, so that no logged or compared value contains one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core_app.config_file import Section
from core_app.environment import UnreadableSecret, read_variable
from core_app.lifecycle import process_wide
from core_app.suggestion import suggestion
from inference_app.catalogue.limits import Limits
from inference_app.catalogue.overlay import STORED_KEYS, Overlay, is_stored_key_name, overlay_now
from inference_app.catalogue.shipped import FALLBACK_CHAIN, MODEL_ROUTING, PROVIDERS

Wire = Literal["openai-chat", "openai-responses", "anthropic", "demo"]
Capability = Literal["text", "tools", "image", "audio", "file", "json_schema", "json_object", "reasoning"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LOOKS_SECRET = re.compile(r"(sk|gsk|xai|pk|key|rk)[-_]|AIza|eyJ")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]

logger = structlog.get_logger("gateway.models")


@lru_cache(maxsize=64)
def _log_unreadable_key(reason: str) -> None:
    """Logs each reason once, because keys are read at every request."""
    logger.warning("provider_key_unreadable", reason=reason)


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Price(_Closed):
    """US dollars per million tokens; `cached` is for input read from the provider's cache (None: as `input`).
    `cache_write` is for input that it writes to its cache for minutes, `cache_write_hour` for an hour (None: 1.25 and 2
    times `input`, as Anthropic has it)."""

    FORM: ClassVar[str] = "US dollars per million tokens, such as {input: 0.5, output: 1.5}"

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    cache_write: float | None = Field(default=None, ge=0)
    cache_write_hour: float | None = Field(default=None, ge=0)


class ModelEntry(_Closed):
    """A model of a provider. `capabilities` None means unknown, and then no request is refused for them.
    `max_output_tokens` is the most that one completion can have: a request without a limit reserves it in budgets.
    `deployment` is the provider's own name of the model (Azure has such names): it is used in requests to the provider
    alone, whereas prices, limits and clients use `id`."""

    FORM: ClassVar[str] = "a model's name, or fields such as {id: qwen3, context_window: 32768}"

    id: str = Field(min_length=1, max_length=200)
    deployment: str | None = Field(default=None, min_length=1, max_length=200)
    context_window: int | None = Field(default=None, gt=0)
    max_output_tokens: int | None = Field(default=None, gt=0)
    price: Price | None = None
    capabilities: tuple[Capability, ...] | None = None
    limits: Limits | None = None


class Timeouts(_Closed):
    """Time-outs in seconds. `first_byte` and `idle` apply to streams, `total` to responses that are not streamed."""

    FORM: ClassVar[str] = "a number of seconds, or {connect: 5, first_byte: 60, idle: 60, total: 600}"

    connect: float = Field(default=5.0, gt=0)
    first_byte: float = Field(default=60.0, gt=0)
    idle: float = Field(default=60.0, gt=0)
    total: float = Field(default=600.0, gt=0)


class ProviderEntry(_Closed):
    """One provider.

    - `api_key: none`: the provider needs no key.
    - `also`: further wires at the same address; requests of those wires pass through unconverted.
    - `model_prefixes`: the prefix that the provider puts before model names, by the beginning of the name
      (`claude` → `anthropic/` at a reseller).
    - `limits`: what the provider takes, beside the table of `inference_app.catalogue.limits`.
    - `refuses`: fields that the provider rejects. The gateway adds none of them to a request, but passes on those that
      the client sent.
    - `assumed`: a local provider of the shipped table that nobody has configured, so it may not run. It serves
      requests that name it, and is not part of the shipped fallback chain.
    - `enabled`: false has the same effect as a missing key.
    """

    FORM: ClassVar[str] = 'fields such as {base_url: "https://api.example.com/v1", api_key_env: EXAMPLE_API_KEY}'

    base_url: str = ""
    api_key_env: str | None = None
    api_key: Literal["none"] | None = None
    wire: Wire = "openai-chat"
    also: tuple[Wire, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    default_model: str | None = None
    headers: Mapping[str, str] = Field(default_factory=dict)
    model_prefixes: Mapping[str, str] = Field(default_factory=dict)
    refuses: tuple[str, ...] = ()
    limits: Limits | None = None
    weight: int = Field(default=1, ge=0)
    timeout: Timeouts = Timeouts()
    assumed: bool = False
    enabled: bool = True

    @field_validator("api_key", mode="before")
    @classmethod
    def _refuse_literal_key(cls, value: Any) -> Any:
        if value not in (None, "none"):
            # The value is not repeated: it is a secret.
            raise ValueError(
                "takes no key itself, because this file is no place for secrets: put the key into .env, as"
                " EXAMPLE_API_KEY=…, and name that variable in api_key_env (or write none, for a provider without keys)"
            )
        return value

    @field_validator("api_key_env")
    @classmethod
    def _check_variable(cls, value: str | None) -> str | None:
        if value is None or value in STORED_KEYS or is_stored_key_name(value):
            return value
        if _LOOKS_SECRET.match(value):
            raise ValueError("takes the name of a variable, and has what looks like a key: put the key into .env")
        if not _VARIABLE.match(value):
            raise ValueError("takes the name of a variable alone, such as DEEPSEEK_API_KEY, without $ and brackets")
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _expand_models(cls, value: Any) -> Any:
        return [{"id": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value

    @field_validator("timeout", mode="before")
    @classmethod
    def _expand_timeout(cls, value: Any) -> Any:
        return {"first_byte": value, "idle": value} if isinstance(value, int | float) else value

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if not _HEADER_NAME.match(name) or not text.isprintable():
                raise ValueError(f"the header {name!r} cannot be sent: a name has no spaces, a value is one line")
        return value

    @model_validator(mode="after")
    def _check_address_and_key(self) -> ProviderEntry:
        if self.wire != "demo":
            _check_address(self.base_url)
        if self.api_key_env is None and self.api_key is None:
            raise ValueError("has no key: name its variable in api_key_env, or write none as its api_key")
        return self

    @property
    def key(self) -> str | None:
        """The secret, from the operator's rows, the environment or the file that a variable names; None when it is
        missing or the provider needs none."""
        if self.api_key_env in STORED_KEYS:
            return STORED_KEYS[self.api_key_env]
        try:
            return read_variable(self.api_key_env) if self.api_key_env else None
        except UnreadableSecret as error:
            _log_unreadable_key(str(error))
            return None

    @property
    def usable(self) -> bool:
        """True if the provider is enabled and has its key, or needs none. Routing skips the others."""
        return self.enabled and (self.api_key == "none" or self.key is not None)

    def model(self, model_id: str) -> ModelEntry | None:
        """Returns the configured entry of a model, None when the provider does not list it."""
        return self._by_id.get(model_id)

    def upstream_model(self, model_id: str) -> str:
        """Returns the name of a model in requests to the provider."""
        entry = self._by_id.get(model_id)
        return model_id if entry is None else entry.deployment or model_id

    @cached_property
    def _by_id(self) -> Mapping[str, ModelEntry]:
        # The first of two entries with the same id counts.
        return {entry.id: entry for entry in reversed(self.models)}


def _check_address(address: str) -> None:
    """Raises ValueError for an address to which no request can be sent."""
    if not address:
        raise ValueError("has no base_url, such as https://api.example.com/v1")
    if not address.startswith(("http://", "https://")):
        raise ValueError("base_url must begin with http:// or https://")
    try:
        parts = urlsplit(address)
        good = parts.hostname and parts.username is None and not parts.query and not parts.fragment
        good = good and (parts.port or 1) and " " not in address
    except ValueError:
        good = False
    if not good:
        raise ValueError("base_url must be an address with a host, without user, query or fragment")


class AliasTarget(_Closed):
    """A model that an alias leads to; `weight` is its share of the requests."""

    model: str = Field(min_length=1)
    weight: int = Field(default=1, ge=0)


class RetryPolicy(_Closed):
    """Retries of a request to one provider, with exponential pauses."""

    max_retries: int = Field(default=2, ge=0, le=10)
    base_delay_ms: int = Field(default=500, ge=0)
    max_delay_ms: int = Field(default=10_000, ge=0)
    retryable_statuses: tuple[int | Literal["4xx", "5xx"], ...] = (408, 409, 429, "5xx")


class BreakerPolicy(_Closed):
    """The circuit breaker of a provider's model, for all tenants and for each of them.

    A tenant's own circuit opens after `failure_threshold` failed calls of that tenant in a row. The circuit of all
    opens after as many calls in a row that could not connect, or when `failure_percent` of at least `minimum_calls`
    calls of several tenants failed within `window_ms`.
    """

    failure_threshold: int = Field(default=3, ge=1)
    reset_timeout_ms: int = Field(default=30_000, ge=0)
    half_open_max_requests: int = Field(default=1, ge=1)
    window_ms: int = Field(default=60_000, ge=1000)
    minimum_calls: int = Field(default=10, ge=1)
    failure_percent: int = Field(default=50, ge=1, le=100)


TENANT_SHARE = 5
"""A tenant's limit as a multiple of its keys': its administrators issue keys, which must not multiply it."""


class RateLimit(_Closed):
    """Requests per minute on one path: of a key, and of all keys of a tenant (by default five times as many)."""

    rpm: int = Field(ge=0)
    tenant_rpm: int | None = Field(default=None, ge=0)
    enabled: bool = True

    @property
    def of_tenant(self) -> int:
        """The limit of all keys of a tenant; 0 means none."""
        return TENANT_SHARE * self.rpm if self.tenant_rpm is None else self.tenant_rpm


class Defaults(_Closed):
    """Policies of the relay; `rate_limit` is by path."""

    retry: RetryPolicy = RetryPolicy()
    circuit_breaker: BreakerPolicy = BreakerPolicy()
    rate_limit: Mapping[str, RateLimit] = Field(default_factory=dict)


class ModelsConfig(_Closed):
    """The whole section, including the shipped providers."""

    providers: Mapping[Name, ProviderEntry]
    default_model: str | None = None
    model_routing: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    model_aliases: Mapping[str, Annotated[tuple[AliasTarget, ...], Field(min_length=1)]] = Field(default_factory=dict)
    fallback_chain: tuple[str, ...] = FALLBACK_CHAIN
    defaults: Defaults = Defaults()

    @field_validator("model_aliases", mode="before")
    @classmethod
    def _expand_targets(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: [{"model": target}] if isinstance(target, str) else target for name, target in value.items()}

    @model_validator(mode="after")
    def _check_provider_names(self) -> ModelsConfig:
        for prefix, names in self.model_routing.items():
            if unknown := next((name for name in names if name not in self.providers), None):
                raise ValueError(
                    f"names the provider {unknown!r} in model_routing.{prefix}, which is not configured."
                    f"{suggestion(unknown, self.providers)}"
                )
        if unknown := next((name for name in self.fallback_chain if name not in self.providers), None):
            raise ValueError(
                f"names the provider {unknown!r} in fallback_chain, which is not configured."
                f"{suggestion(unknown, self.providers)}"
            )
        return self


def parse(section: Any, overlay: Overlay | None = None) -> ModelsConfig:
    """Returns the section merged with the shipped defaults and with the operator's rows, which take precedence in this
    order: rows, section, defaults. Raises pydantic's ValidationError when the result is not valid."""
    if section is not None and not isinstance(section, dict):
        return ModelsConfig.model_validate(section)
    given: dict[str, Any] = dict(section or {})
    if overlay is not None:
        given = overlay.apply_to(given)
    providers = given.get("providers") or {}
    if isinstance(providers, dict):
        given["providers"] = _merge_shipped(providers)
        if overlay is not None:
            given["providers"] = overlay.add_prices(given["providers"])
    routing = given.get("model_routing") or {}
    if isinstance(routing, dict):
        given["model_routing"] = {**MODEL_ROUTING, **routing}
    return ModelsConfig.model_validate(given)


def _merge_shipped(given: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {name: dict(entry) for name, entry in PROVIDERS.items()}
    for name, entry in given.items():
        if not isinstance(entry, dict):
            merged[name] = entry
            continue
        base = {key: value for key, value in merged.get(name, {}).items() if key != "assumed"}
        if "api_key" in entry or "api_key_env" in entry:
            base = {key: value for key, value in base.items() if key not in {"api_key", "api_key_env"}}
        # An operator who writes `api_key:` or `api_key: null` means `none`; YAML reads both as None.
        merged[name] = {**base, **entry, **({"api_key": "none"} if entry.get("api_key", "") is None else {})}
    return merged


MODELS: Section[ModelsConfig] = process_wide(
    Section("models", lambda section: parse(section, overlay_now()), ModelsConfig), reset=Section.forget
)


def models_config() -> ModelsConfig:
    """Returns the configuration in force."""
    return MODELS.get()
