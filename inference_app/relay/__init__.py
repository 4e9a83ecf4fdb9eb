"""The relay: requests to providers with routing, retries and fallbacks; response bytes pass through and are metered.

A face takes a token of the path (`take_token`), opens the body (`open_envelope`), watches its client and enters
`upstream_call`. Errors belong to the one tree (`core_app.errors`) and are rendered by the caller's `Dialect`. A request
of one wire reaches providers of another through the `Converter`s that the face passes.
"""

from __future__ import annotations

from inference_app.relay.admission import take_token
from inference_app.relay.call import upstream_call
from inference_app.relay.converter import Converter, ConverterFactory, Converters
from inference_app.relay.dialect import ANTHROPIC, OPENAI, Dialect
from inference_app.relay.envelope import Envelope, open_envelope
from inference_app.relay.request import UpstreamRequest
from inference_app.relay.response import RelayedResponse
from inference_app.request_kinds import RequestKind

__all__ = [
    "ANTHROPIC",
    "OPENAI",
    "Converter",
    "ConverterFactory",
    "Converters",
    "Dialect",
    "Envelope",
    "RelayedResponse",
    "RequestKind",
    "UpstreamRequest",
    "open_envelope",
    "take_token",
    "upstream_call",
]
