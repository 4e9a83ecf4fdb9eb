"""Converters for requests whose provider speaks another wire, by the kind of the request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from inference_app.conversion import RequestConverter
from inference_app.relay.converter import Converters
from inference_app.request_kinds import RequestKind

CONVERTERS: Mapping[RequestKind, Converters] = {
    "chat": {
        "anthropic": partial(RequestConverter, "chat", "anthropic"),
        "openai-responses": partial(RequestConverter, "chat", "openai-responses"),
    },
    "messages": {
        "openai-chat": partial(RequestConverter, "messages", "openai-chat"),
        "openai-responses": partial(RequestConverter, "messages", "openai-responses"),
    },
}
"""Converters by request kind and wire. The face of the Responses API has its own, which end streams in its dialect."""
