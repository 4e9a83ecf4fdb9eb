"""Kinds of relayed requests: the wire that takes each without conversion, and its path at a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from inference_app.catalogue.config import ProviderEntry, Wire

RequestKind = Literal["chat", "messages", "count_tokens", "responses", "embeddings"]

NATIVE: Mapping[RequestKind, Wire] = {
    "chat": "openai-chat",
    "embeddings": "openai-chat",
    "responses": "openai-responses",
    "messages": "anthropic",
    "count_tokens": "anthropic",
}
"""The wire that takes a request without conversion."""

CONVERTED: Mapping[Wire, RequestKind] = {
    "openai-chat": "chat",
    "openai-responses": "responses",
    "anthropic": "messages",
}
"""The kind of a request after a converter has turned it into that wire."""

_PATHS: Mapping[RequestKind, str] = {
    "chat": "/chat/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
    "messages": "/v1/messages",
    "count_tokens": "/v1/messages/count_tokens",
}


def upstream_url(base_url: str, kind: RequestKind) -> str:
    """Returns the address for `kind` at a provider. Anthropic's base has no version in it, OpenAI's has."""
    base = base_url.rstrip("/")
    if NATIVE[kind] == "anthropic":
        base = base.removesuffix("/v1")
    return base + _PATHS[kind]


def models_url(provider: ProviderEntry) -> str:
    """Returns the address of a provider's list of models."""
    base = provider.base_url.rstrip("/")
    return base.removesuffix("/v1") + "/v1/models" if provider.wire == "anthropic" else base + "/models"


def speaks(provider: ProviderEntry, wire: Wire) -> bool:
    """True if the provider takes requests of that wire."""
    return provider.wire == wire or wire in provider.also
