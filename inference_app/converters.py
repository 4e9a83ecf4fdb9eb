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
"""Those of the Responses API are made by its face, which ends their streams in its own dialect."""
