"""Names of providers and operations in OpenTelemetry's GenAI conventions."""

from __future__ import annotations

from collections.abc import Mapping

_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}

OPERATIONS: Mapping[str, str] = {"embeddings": "embeddings", "count_tokens": "count_tokens"}
"""`gen_ai.operation.name` by the kind of a request; every other kind is a `chat`."""


def otel_provider_name(provider: str) -> str:
    """Returns `gen_ai.provider.name` for a provider's name in the configuration; the same name if there is no other."""
    return _PROVIDERS.get(provider, provider)
