"""JSON for DRF: parser, renderer and content negotiation of every REST face.

Responses are JSON whatever `Accept` says: clients that set `text/event-stream` globally would get 406 from DRF. Bodies
are strict JSON, with the limits of `core_app.jsontext`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from core_app.jsontext import decode_untrusted, encode


class JSONRenderer(BaseRenderer):
    """Compact JSON; a response without data has no body."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else encode(data)


class StrictJSONParser(BaseParser):
    """Strict JSON with its text cleaned; an empty body is an empty object."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        raw = stream.read()
        return decode_untrusted(raw) if raw.strip() else {}


class JSONNegotiation(BaseContentNegotiation):
    """Ignores `Accept` and `?format=`; a missing Content-Type means JSON."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if media_type in ("", parser.media_type)), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: Any = None
    ) -> tuple[BaseRenderer, str]:
        return next(iter(renderers)), "application/json"
