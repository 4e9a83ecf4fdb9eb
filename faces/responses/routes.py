"""The paths of the Responses API, for the router and for the gate in front of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from core_app.errors import NotFound
from edge_app.http.exchange import Endpoint, Router
from faces.responses.endpoint import response_create
from faces.responses.http import open_exchange, render_error
from faces.responses.stored import input_items_list, response_read, response_remove, response_stop
from inference_app.relay import Dialect
from inference_app.relay.dialect import error_headers
from tenants_app.principal import INFERENCE

RESPONSES_PATH = re.compile(r"v1/responses(?:/[^/]+(?:/(?:cancel|input_items))?)?\Z")

NOT_SERVED = ("compact", "input_tokens")
"""Paths of the API that are not served; they are no ids of responses."""

_STORED: Mapping[str, Mapping[str, Endpoint[Dialect]]] = {
    "": {"GET": response_read, "DELETE": response_remove},
    "cancel": {"POST": response_stop},
    "input_items": {"GET": input_items_list},
}


def _responses(path: str) -> Mapping[str, Endpoint[Dialect]]:
    _, _, rest = path.partition("/v1/responses")
    if not rest:
        return {"POST": response_create}
    _, _, action = rest[1:].partition("/")
    if rest[1:] in NOT_SERVED:
        raise NotFound("There is nothing at this path.")
    return _STORED[action]


RESPONSES_PATHS = Router(
    _responses, scope=INFERENCE, open_exchange=open_exchange, error_body=render_error, error_headers=error_headers
)
