"""Spans of attempts at providers, in OpenTelemetry's GenAI conventions, below the span of the request."""

from __future__ import annotations

import re

from core_app.tracing import NO_SPAN, Attributes, Span, start_span, tracing_enabled
from inference_app.catalogue.resolution import Candidate
from inference_app.otel_names import OPERATIONS, otel_provider_name
from inference_app.relay.attempt import AttemptFailed
from inference_app.request_kinds import RequestKind
from inference_app.spend.usage import Usage

_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')
_HEAD = 4096


def start_attempt(candidate: Candidate, kind: RequestKind, *, number: int, streamed: bool, request_id: str) -> Span:
    """Starts the span of an attempt; the caller ends it with `end_attempt` or `fail_attempt`."""
    if not tracing_enabled():
        return NO_SPAN
    operation, model = OPERATIONS.get(kind, "chat"), candidate.model[:200]
    attributes: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": otel_provider_name(candidate.provider),
        "gen_ai.request.model": model,
        "gen_ai.request.stream": streamed,
        "gateway.request.id": request_id,
        "gateway.attempt": number,
    }
    return start_span(f"{operation} {model}", attributes, kind="client")


def note_response_model(span: Span, beginning: bytes) -> None:
    """Sets the model that the start of a response names. All wires have it there, and within a text its quotes would be
    escaped."""
    if span is not NO_SPAN and (found := _MODEL.search(beginning, 0, _HEAD)) is not None:
        span.set_attributes({"gen_ai.response.model": found[1].decode("utf-8", "replace")})


def fail_attempt(span: Span, failed: AttemptFailed) -> None:
    """Ends the span of a failed attempt."""
    if span is not NO_SPAN:
        span.set_attributes({"http.response.status_code": failed.fault.status})
        end_attempt(span, failed.fault.code, None)


def end_attempt(span: Span, error_type: str | None, usage: Usage | None) -> None:
    """Ends the span of an attempt that has a response; `error_type` None: the response is complete."""
    if span is NO_SPAN:
        return
    if usage is not None:
        span.set_attributes({"gen_ai.usage.input_tokens": usage.input, "gen_ai.usage.output_tokens": usage.output})
    if error_type is not None:
        span.mark_failed(error_type)
    span.end()
