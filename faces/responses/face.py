"""The face of OpenAI's Responses and Conversations APIs as one value."""

from __future__ import annotations

from django.conf import settings

from edge_app.face import Face, Route, SocketCodes
from edge_app.key_changes import KEY_CHANGES
from events_app.signals import SIGNALS
from faces.responses.http import render_error
from faces.responses.routes import RESPONSES_PATH, RESPONSES_PATHS, STORED_PATH
from faces.responses.socket.close_codes import ResponsesClose
from faces.responses.socket.consumer import ResponsesSocket
from faces.responses.socket.open_connections import RESPONSE_SOCKETS


def body_limit(path: str) -> int:
    """Returns the limit of a request's body in bytes: images and documents travel inside it."""
    limit: int = settings.GATEWAY_MAX_INFERENCE_BODY_BYTES
    return limit


FACE = Face(
    name="responses",
    consumers=(
        Route(
            path=RESPONSES_PATH,
            application=RESPONSES_PATHS,
            # The relay has buckets of its own.
            counted=False,
            frequent=("/v1/responses",),
            templates=("/v1/responses", "/v1/responses/compact"),
        ),
        Route(
            path="v1/responses",
            application=ResponsesSocket.as_asgi(),
            protocol="websocket",
        ),
        Route(
            path=STORED_PATH,
            application=RESPONSES_PATHS,
            templates=(
                "/v1/responses/input_tokens",
                "/v1/responses/{response_id}",
                "/v1/responses/{response_id}/cancel",
                "/v1/responses/{response_id}/input_items",
                "/v1/conversations",
                "/v1/conversations/{conversation_id}",
                "/v1/conversations/{conversation_id}/items",
                "/v1/conversations/{conversation_id}/items/{item_id}",
            ),
        ),
    ),
    error_body=render_error,
    body_limit=body_limit,
    close_codes=SocketCodes(failed=ResponsesClose.FAILED),
    # Later parts are drained before these.
    parts=(SIGNALS, KEY_CHANGES, RESPONSE_SOCKETS),
    openapi="faces.responses.openapi.DOCUMENT",
)
