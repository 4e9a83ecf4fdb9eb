"""Spans of model requests by OpenTelemetry's GenAI conventions. Texts are recorded only if the operator enabled it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse

from agents_app.engine import Leg, Usage
from agents_app.failures import PROVIDER_ERRORS, failure
from agents_app.ready_model import ServedModel
from core_app import jsontext
from core_app.tracing import Attributes, Span, content_attribute, span, tracing_enabled
from inference_app.otel_names import otel_provider_name

SETTINGS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "max_tokens": "gen_ai.request.max_tokens",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
}


@contextmanager
def model_span(leg: Leg, served: ServedModel, asked: Sequence[ModelMessage]) -> Iterator[Span]:
    """Opens the span of one model request. A provider error marks it with the code that clients would see."""
    with span(f"chat {served.name.partition(':')[2]}", _attributes(leg, served, asked), kind="client") as asking:
        try:
            yield asking
        except PROVIDER_ERRORS as error:
            asking.mark_failed(failure(error, served.name).code)
            raise


def record_response(asking: Span, response: ModelResponse, usage: Usage) -> None:
    """Records the response in its span. `usage` is the usage that the ledger will have."""
    asking.set_attributes(
        {
            "gen_ai.response.model": response.model_name,
            "gen_ai.response.id": response.provider_response_id,
            "gen_ai.response.finish_reasons": (response.finish_reason,) if response.finish_reason else None,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens or None,
            **content_attribute("gen_ai.output.messages", lambda: _otel_messages([response])),
        }
    )


def _attributes(leg: Leg, served: ServedModel, asked: Sequence[ModelMessage]) -> Attributes:
    if not tracing_enabled():
        return {}
    provider, _, model = served.name.partition(":")
    settings: dict[str, Any] = dict(served.settings)
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": otel_provider_name(provider),
        "gen_ai.request.model": model,
        "gen_ai.conversation.id": leg.session.session_id,
        "gen_ai.output.type": "text" if leg.session.response_format is None else "json",
        "gateway.run.id": leg.run.run_id,
        **{attribute: settings.get(name) for name, attribute in SETTINGS.items()},
        **content_attribute("gen_ai.system_instructions", lambda: leg.session.system_prompt),
        **content_attribute("gen_ai.input.messages", lambda: _otel_messages(asked)),
    }


def _otel_messages(messages: Sequence[ModelMessage]) -> str:
    """Encodes the messages by the conventions, with the library's own function. Binaries are left out."""
    conventions = import_module("pydantic_ai.models.instrumented").InstrumentationSettings(include_binary_content=False)
    return jsontext.encode_text(conventions.messages_to_otel_messages(list(messages)))
