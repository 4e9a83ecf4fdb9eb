"""Spans of model requests by OpenTelemetry's GenAI conventions. Texts are recorded only if the operator enabled it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import TracebackType
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse

from agents_app.engine import Leg, Usage
from agents_app.failures import PROVIDER_ERRORS, failure
from agents_app.ready_model import ServedModel
from core_app import jsontext
from core_app.tracing import NO_SPAN, Attributes, Span, content_attribute, start_span, tracing_enabled
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


class RequestSpans:
    """The spans of one request, one for each attempt. As a context manager it ends the last one; a provider error marks
    it with the code that clients would see."""

    def __init__(self, leg: Leg, served: ServedModel, asked: Sequence[ModelMessage]) -> None:
        self._leg = leg
        self._served = served
        self._asked = asked
        self.current: Span = NO_SPAN

    def __enter__(self) -> RequestSpans:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error)

    def start(self) -> None:
        """Starts the span of an attempt."""
        name = f"chat {self._served.name.partition(':')[2]}"
        self.current = start_span(name, _attributes(self._leg, self._served, self._asked), kind="client")

    def end(self, error: BaseException | None = None) -> None:
        """Ends the span of the attempt, which failed with `error`."""
        ended, self.current = self.current, NO_SPAN
        if isinstance(error, PROVIDER_ERRORS):
            ended.mark_failed(failure(error, self._served.name).code)
        elif error is not None:
            ended.mark_failed(type(error).__name__)
        ended.end()

    def record_response(self, response: ModelResponse, usage: Usage) -> None:
        """Records the response in its span. `usage` is the usage that the ledger will have."""
        self.current.set_attributes(
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
