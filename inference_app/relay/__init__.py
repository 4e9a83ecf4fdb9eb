"""The relay: requests to providers with routing, retries and failover, answered bytes through and metered once.

A face opens the body (`Envelope.open`), watches its client and enters `upstream_call`. Errors belong to the one tree
and are rendered by the caller's `Dialect`. A request of one wire reaches providers of another through the `Converter`s
that the face passes.
"""

from __future__ import annotations

from inference_app.relay.answer import UpstreamAnswer
from inference_app.relay.call import upstream_call
from inference_app.relay.converter import Converter, ConverterFactory, Converters
from inference_app.relay.dialect import ANTHROPIC, OPENAI, Dialect
from inference_app.relay.envelope import Envelope
from inference_app.relay.request import UpstreamRequest
from inference_app.request_kinds import RequestKind

__all__ = [
    "ANTHROPIC",
    "OPENAI",
    "Converter",
    "ConverterFactory",
    "Converters",
    "Dialect",
    "Envelope",
    "RequestKind",
    "UpstreamAnswer",
    "UpstreamRequest",
    "upstream_call",
]
