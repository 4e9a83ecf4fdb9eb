"""The dialect of Responses clients: OpenAI's error body before a response, `response.failed` within a stream.

A broken stream must end with the response that it began. The converter ends a converted stream; of a stream that passes
through unchanged, the first event and the last sequence number are remembered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from core_app.errors import GatewayError
from inference_app.catalogue.config import Wire
from inference_app.conversion import Failure, RequestConverter
from inference_app.conversion.sse import typed_event
from inference_app.relay import OPENAI, Converters
from inference_app.relay.dialect import error_code

_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d+)')
_CREATED = re.compile(rb'^data: ?(\{.*"response\.created".*\})\r?$', re.MULTILINE)
_WIRES: tuple[Wire, ...] = ("openai-chat", "anthropic")


class ResponsesDialect:
    """The dialect of one request. It makes the converters of the attempts and knows the last one."""

    def __init__(self) -> None:
        self._converter: RequestConverter | None = None
        self._first = b""
        self._last = b""
        self.error: GatewayError | None = None
        """What the provider's stream broke off with."""

    @property
    def converters(self) -> Converters:
        """The converters to the wires that are not the Responses API's own."""
        return {wire: partial(self._convert, wire) for wire in _WIRES}

    def pass_through(self) -> None:
        """Notes that the provider speaks the Responses API itself, so no converter ends the stream."""
        self._converter = None

    def remember(self, data: bytes) -> None:
        """Remembers the first and the newest bytes of the body that the client has got."""
        self._first = self._first or data
        self._last = data

    def body(self, error: GatewayError) -> Mapping[str, Any]:
        return OPENAI.body(error)

    def event(self, error: GatewayError) -> bytes:
        self.error = error
        failed = Failure(error_code(error) or "server_error", error.message, error.status)
        return self._end_stream(failed) if self._converter is None else self._converter.fail(failed)

    def _convert(self, wire: Wire) -> RequestConverter:
        self._converter = RequestConverter("responses", wire)
        return self._converter

    def _end_stream(self, failed: Failure) -> bytes:
        """Returns `response.failed` for the response that the provider began; else an `error` event."""
        numbers = _NUMBER.findall(self._last)
        number = int(numbers[-1]) + 1 if numbers else 0
        created = _CREATED.search(self._first)
        if created is None:
            event: dict[str, Any] = {"type": "error", "code": failed.code, "message": failed.message, "param": None}
        else:
            response = orjson.loads(created.group(1))["response"]
            error = {"code": "server_error", "message": failed.message}
            event = {"type": "response.failed", "response": {**response, "status": "failed", "error": error}}
        return typed_event({**event, "sequence_number": number})


class QuietDialect(ResponsesDialect):
    """Ends no stream: the next attempt goes on with it, or who asked says how it ended."""

    def event(self, error: GatewayError) -> bytes:
        self.error = error
        return b""
