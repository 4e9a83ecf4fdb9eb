"""The relay: requests to providers with routing, retries and failover, answered bytes through and metered once.

A face opens the body (`Envelope.open`), watches its client (`ClientWatch`) and enters `upstream_call`; what is
refused is a `Refusal`, rendered by the caller's `Dialect`. A request of one wire reaches providers of another through
the `Converter`s that the face brings.
"""

from __future__ import annotations

from edge_app.http.client_watch import ClientWatch
from inference_app.errors import Refusal, refusal_of
from inference_app.relay.call import UpstreamAnswer, UpstreamRequest, upstream_call
from inference_app.relay.converter import Converter, ConverterFactory, Converters
from inference_app.relay.dialect import ANTHROPIC, OPENAI, Dialect
from inference_app.relay.envelope import Envelope
from inference_app.request_kinds import Kind

__all__ = [
    "ANTHROPIC",
    "OPENAI",
    "ClientWatch",
    "Converter",
    "ConverterFactory",
    "Converters",
    "Dialect",
    "Envelope",
    "Kind",
    "Refusal",
    "UpstreamAnswer",
    "UpstreamRequest",
    "refusal_of",
    "upstream_call",
]
