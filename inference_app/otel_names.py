"""What OpenTelemetry's GenAI conventions call the providers and the kinds of requests that the gateway knows."""

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
    """`gen_ai.provider.name` of a provider by its name in the configuration, which is kept where none is known."""
    return _PROVIDERS.get(provider, provider)
