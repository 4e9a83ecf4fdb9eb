"""The inference face as one value: OpenAI's Chat, Embeddings and Models, Anthropic's Messages, operators' pages.

It also renders the errors of vendors' paths that the gateway does not have, in the dialect of their clients.
"""

from __future__ import annotations

from django.conf import settings

from edge_app.face import Face, Route
from faces.inference.http import is_vendor_path, refusal_headers, render_error
from faces.inference.routes import COMPLETION_PATH, INFERENCE_PATH, inference_application


def body_limit(path: str) -> int:
    """Returns the limit of a request's body in bytes: images and documents travel inside it."""
    limit: int = settings.GATEWAY_MAX_INFERENCE_BODY_BYTES
    return limit


FACE = Face(
    name="inference",
    consumers=(
        Route(
            path=INFERENCE_PATH,
            application=inference_application,
            # The relay has buckets of its own.
            counted=False,
            frequent=("/v1/chat/completions", "/v1/embeddings", "/v1/messages"),
            templates=("/v1/chat/completions", "/v1/embeddings", "/v1/messages", "/v1/messages/count_tokens"),
        ),
        Route(
            path=COMPLETION_PATH,
            application=inference_application,
            templates=(
                "/v1/background/{background_id}",
                "/v1/background/{background_id}/cancel",
                "/v1/chat/completions/{completion_id}",
                "/v1/chat/completions/{completion_id}/cancel",
                "/v1/messages/{message_id}",
                "/v1/messages/{message_id}/cancel",
            ),
        ),
    ),
    error_body=render_error,
    refusal_headers=refusal_headers,
    body_limit=body_limit,
    browser_sessions=True,
    is_dialect_path=is_vendor_path,
    openapi="faces.inference.openapi.DOCUMENT",
)
