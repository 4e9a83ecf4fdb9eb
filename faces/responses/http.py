"""The HTTP side of the Responses face: OpenAI's dialect, and the exchange of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from core_app.errors import BadRequest, GatewayError
from core_app.jsontext import decode_untrusted
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.exchange import Exchange as HttpExchange
from inference_app.relay import OPENAI, Dialect

Exchange = HttpExchange[Dialect]


def render_error(scope: Scope, error: GatewayError) -> Mapping[str, Any]:
    """Returns the body of an error as OpenAI's clients read it."""
    return OPENAI.body(error)


def open_exchange(scope: Scope, receive: Receive, send: Send) -> Exchange:
    """Returns the exchange of a request."""
    limit: int = settings.GATEWAY_MAX_INFERENCE_BODY_BYTES
    # Not through the alias: calling a subscripted class costs as much as making the exchange.
    return HttpExchange(scope, receive, send, OPENAI, limit, [], scope.get("gateway.send"))


async def read_object(exchange: Exchange) -> dict[str, Any]:
    """Returns a small JSON body, which may be absent; raises BadRequest for anything but an object."""
    raw = await exchange.read_body()
    given = decode_untrusted(raw) if raw.strip() else {}
    if not isinstance(given, dict):
        raise BadRequest("The body must be a JSON object.")
    return given
