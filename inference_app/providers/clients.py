"""Provider clients of the agent library: a configured model as its `Model`, never built from a client's string.

Keys and addresses come from the configuration alone, so a provider's client never falls back to the operator's other
keys. Clients are cached per event loop, provider and key. Their own retries are off, because the caller that retries
must know what the user has already seen. Provider libraries are loaded at first use, or by `preload_models`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.conf import settings

from core_app.tracing import current_span
from inference_app.catalogue.config import ModelEntry, ProviderEntry, models_config
from inference_app.catalogue.resolution import Candidate

if TYPE_CHECKING:
    from pydantic_ai.models import Model

_NO_KEY = "none"
"""The key sent to a provider without one, because the clients require a key."""

MAX_MODELS = 256
"""Built models that are kept per loop: users may send any name, and a built model is small but not free."""

_PROFILES = {
    "deepseek": ("pydantic_ai.providers.deepseek", "DeepSeekProvider"),
    "qwen": ("pydantic_ai.providers.alibaba", "AlibabaProvider"),
    "openrouter": ("pydantic_ai.providers.openrouter", "OpenRouterProvider"),
    "ollama": ("pydantic_ai.providers.ollama", "OllamaProvider"),
    "vllm": ("pydantic_ai.providers.vllm", "VLLMProvider"),
    "together": ("pydantic_ai.providers.together", "TogetherProvider"),
    "azure": ("pydantic_ai.providers.azure", "AzureProvider"),
}
"""Providers whose differences the library knows: names of reasoning fields, output modes."""


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model ready for requests. `json_schema`: true if it takes a JSON Schema for its output."""

    candidate: Candidate
    provider: ProviderEntry
    entry: ModelEntry | None
    model: Model
    json_schema: bool


@dataclass(frozen=True, slots=True)
class _Client:
    """A provider's client, with the configuration and the key that it was made from."""

    provider: ProviderEntry
    key: str | None
    client: Any

    def serves(self, provider: ProviderEntry) -> bool:
        # Identity first: the configuration is one value until the file changes, and comparing it costs more.
        return self.key == provider.key and (self.provider is provider or self.provider == provider)


class _Pool:
    """The clients of one event loop by provider, and the models built on them; the oldest models go first."""

    def __init__(self) -> None:
        self.clients: dict[str, _Client] = {}
        self.models: OrderedDict[Candidate, tuple[_Client, BuiltModel]] = OrderedDict()
        self.replaced: list[Any] = []
        self.building = threading.Lock()

    def client(self, name: str, provider: ProviderEntry) -> _Client:
        known = self.clients.get(name)
        if known is not None and known.serves(provider):
            return known
        if known is not None:
            # Running legs still read from it; it is closed with the others.
            self.replaced.append(known.client)
        made = _Client(provider, provider.key, _WIRES[provider.wire].client(provider))
        self.clients[name] = made
        return made

    def get_model(self, candidate: Candidate, provider: ProviderEntry) -> BuiltModel | None:
        """Returns the model if it is built and its configuration is unchanged."""
        known = self.models.get(candidate)
        return known[1] if known is not None and known[0].serves(provider) else None

    def build_model(self, candidate: Candidate, provider: ProviderEntry) -> BuiltModel:
        client = self.client(candidate.provider, provider)
        built = _build(candidate, provider, client.client)
        self.models[candidate] = (client, built)
        while len(self.models) > MAX_MODELS:
            self.models.popitem(last=False)
        return built

    async def close(self) -> None:
        clients = [*self.replaced, *(kept.client for kept in self.clients.values())]
        self.clients.clear()
        self.models.clear()
        self.replaced.clear()
        for client in clients:
            await client.close()


_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()


async def build_model(candidate: Candidate, provider: ProviderEntry) -> BuiltModel:
    """Returns the candidate's model for the running loop; builds it anew if its configuration or key has changed.

    It builds in a thread, because the first model of a wire loads its library (up to a second) and the first of a
    provider reads the certificates (30 ms)."""
    pool = _pools.setdefault(asyncio.get_running_loop(), _Pool())
    if (known := pool.get_model(candidate, provider)) is not None:
        return known
    return await asyncio.to_thread(_build_in_pool, pool, candidate, provider)


async def preload_models() -> None:
    """Builds a model of every provider that the operator has set up, before anybody asks for one.

    The first model of a wire loads its library: a second in which the process's other threads and its loop hardly get
    the interpreter, so that one tenant's first prompt would delay everybody else's.
    """
    pool = _pools.setdefault(asyncio.get_running_loop(), _Pool())
    for name, provider in models_config().providers.items():
        model = provider.default_model or next((entry.id for entry in provider.models), None)
        if model is not None and provider.wire in _WIRES and provider.usable and not provider.assumed:
            await asyncio.to_thread(_build_in_pool, pool, Candidate(name, model), provider)


async def close_clients() -> None:
    """Closes the running loop's connections to providers, as part of an orderly stop of the process."""
    if pool := _pools.pop(asyncio.get_running_loop(), None):
        await pool.close()


def _build_in_pool(pool: _Pool, candidate: Candidate, provider: ProviderEntry) -> BuiltModel:
    with pool.building:
        return pool.get_model(candidate, provider) or pool.build_model(candidate, provider)


def _build(candidate: Candidate, provider: ProviderEntry, client: Any) -> BuiltModel:
    model = _WIRES[provider.wire].model(candidate, client)
    entry = provider.model(candidate.model)
    if entry is not None and entry.capabilities is not None:
        json_schema = "json_schema" in entry.capabilities
    else:
        json_schema = bool(model.profile.get("supports_json_schema_output", False))
    return BuiltModel(candidate, provider, entry, model, json_schema)


def _client_factory(library: str, name: str) -> Callable[[ProviderEntry], Any]:
    def create(provider: ProviderEntry) -> Any:
        timeout = _timeout(provider)
        http_client = import_module("pydantic_ai.models").create_async_httpx2_client(timeout=timeout)
        if settings.GATEWAY_OTEL and settings.GATEWAY_OTEL_PROPAGATE:
            http_client.event_hooks["request"].append(_add_trace_headers)
        return getattr(import_module(library), name)(
            base_url=provider.base_url,
            api_key=provider.key or _NO_KEY,
            max_retries=0,
            timeout=timeout,
            default_headers=dict(provider.headers) or None,
            http_client=http_client,
        )

    return create


async def _add_trace_headers(request: Any) -> None:
    """Adds the headers that name the span, for hosts that GATEWAY_OTEL_PROPAGATE lists."""
    request.headers.update(current_span().headers(request.url.host))


def _skip_transform(make: Callable[[ProviderEntry], Any]) -> Callable[[ProviderEntry], Any]:
    """Returns a factory whose client sends messages without its search for renamed fields, of which they have none.

    That search walks every message in Python on the event loop: 130 ms for a conversation of 800 messages, 15 ms
    without it. The client merges `extra_body` into the body unchanged.
    """

    def create(provider: ProviderEntry) -> Any:
        client = make(provider)
        completions = client.chat.completions
        create = completions.create

        async def create_untransformed(*, messages: Any, extra_body: Any = None, **fields: Any) -> Any:
            taken = {name: value for name, value in fields.items() if name not in provider.refuses}
            taken["model"] = provider.upstream_model(taken["model"])
            return await create(messages=[], extra_body={"messages": messages, **(extra_body or {})}, **taken)

        completions.create = create_untransformed
        if provider.wire == "openai-responses":
            _send_own_model_names(client.responses, provider)
        return client

    return create


def _anthropic_client(provider: ProviderEntry) -> Any:
    client = _client_factory("anthropic", "AsyncAnthropic")(provider)
    for messages in (client.messages, client.beta.messages):
        _send_own_model_names(messages, provider)
    return client


def _send_own_model_names(asked: Any, provider: ProviderEntry) -> None:
    """Makes requests carry the provider's own name for a model. The library itself must know the model by its public
    name, from which it concludes its abilities."""
    create = asked.create

    async def create_named(*, model: str, **fields: Any) -> Any:
        return await create(model=provider.upstream_model(model), **fields)

    asked.create = create_named


def _timeout(provider: ProviderEntry) -> Any:
    times = provider.timeout
    return import_module("httpx2").Timeout(times.idle, connect=times.connect)


def _openai_provider(candidate: Candidate, client: Any) -> Any:
    if candidate.provider == "openai":
        return import_module("pydantic_ai.providers.openai").OpenAIProvider(openai_client=client)
    compatible = import_module("pydantic_ai.providers.openai_compatible").OpenAICompatibleProvider
    return compatible(candidate.provider, openai_client=client)


def _openai_chat(candidate: Candidate, client: Any) -> Model:
    upstream = _openai_provider(candidate, client)
    # Without this the library invents a finish reason for a stream that was cut off.
    strict = {"openai_chat_streaming_requires_finish_reason": True}
    profile = import_module("pydantic_ai.profiles").merge_profile(
        type(upstream).model_profile(candidate.model), _library_profile(candidate), strict
    )
    models = import_module("pydantic_ai.models.openai")
    model: Model = models.OpenAIChatModel(candidate.model, provider=upstream, profile=profile)
    return model


def _library_profile(candidate: Candidate) -> Any:
    if candidate.provider not in _PROFILES:
        return None
    module, name = _PROFILES[candidate.provider]
    try:
        return getattr(import_module(module), name).model_profile(candidate.model)
    except import_module("pydantic_ai.exceptions").UserError:
        # A reseller's model without its vendor's name: the reseller's own profile applies.
        return None


def _openai_responses(candidate: Candidate, client: Any) -> Model:
    models = import_module("pydantic_ai.models.openai")
    model: Model = models.OpenAIResponsesModel(candidate.model, provider=_openai_provider(candidate, client))
    return model


def _anthropic(candidate: Candidate, client: Any) -> Model:
    upstream = import_module("pydantic_ai.providers.anthropic").AnthropicProvider(anthropic_client=client)
    model: Model = import_module("pydantic_ai.models.anthropic").AnthropicModel(candidate.model, provider=upstream)
    return model


@dataclass(frozen=True, slots=True)
class _WireLibrary:
    """The library of one wire: functions that make a client, and a model on it."""

    client: Callable[[ProviderEntry], Any]
    model: Callable[[Candidate, Any], Model]


_OPENAI = _skip_transform(_client_factory("openai", "AsyncOpenAI"))
_WIRES: dict[str, _WireLibrary] = {
    "openai-chat": _WireLibrary(_OPENAI, _openai_chat),
    "openai-responses": _WireLibrary(_OPENAI, _openai_responses),
    "anthropic": _WireLibrary(_anthropic_client, _anthropic),
}
