"""The paths of the Responses and Conversations APIs, for the router and for the gate in front of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edge_app.http.exchange import Endpoint, Router
from faces.responses import conversations as talks
from faces.responses.compact import response_compact
from faces.responses.endpoint import response_create
from faces.responses.http import open_exchange, render_error
from faces.responses.stored import input_items_list, input_tokens_count, response_read, response_remove, response_stop
from inference_app.relay import Dialect
from inference_app.relay.dialect import error_headers
from tenants_app.principal import INFERENCE

RESPONSES_PATH = re.compile(r"v1/responses(?:/compact)?\Z")
STORED_PATH = re.compile(
    r"v1/(?:responses/(?!compact\Z)[^/]+(?:/(?:cancel|input_items))?|conversations(?:/[^/]+(?:/items(?:/[^/]+)?)?)?)\Z"
)

Methods = Mapping[str, Endpoint[Dialect]]

_FIXED: Mapping[str, Methods] = {"input_tokens": {"POST": input_tokens_count}, "compact": {"POST": response_compact}}
"""Paths behind `/v1/responses` that are no ids of responses."""

_RESPONSES: Mapping[str, Methods] = {
    "": {"GET": response_read, "DELETE": response_remove},
    "cancel": {"POST": response_stop},
    "input_items": {"GET": input_items_list},
}
_CONVERSATIONS: Mapping[int, Methods] = {
    0: {"POST": talks.conversation_open},
    1: {
        "GET": talks.conversation_read,
        "POST": talks.conversation_update,
        "DELETE": talks.conversation_remove,
    },
    2: {"GET": talks.items_list, "POST": talks.items_create},
    3: {"GET": talks.item_read, "DELETE": talks.item_remove},
}
"""By the number of segments behind `/v1/conversations`."""


def _route(path: str) -> Methods:
    _, _, api, *rest = path.split("/")
    if api == "conversations":
        return _CONVERSATIONS[len(rest)]
    if not rest:
        return {"POST": response_create}
    if len(rest) == 1 and rest[0] in _FIXED:
        return _FIXED[rest[0]]
    return _RESPONSES[rest[1] if len(rest) > 1 else ""]


RESPONSES_PATHS = Router(
    _route, scope=INFERENCE, open_exchange=open_exchange, error_body=render_error, error_headers=error_headers
)
