"""The paths of the Responses API, for the router and for the gate in front of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from faces.inference.http import Endpoint, Paths
from faces.responses.endpoint import response_create, response_missing
from tenants_app.principal import INFERENCE

RESPONSES_PATH = re.compile(r"v1/responses(?:/[^/]+(?:/(?:cancel|input_items))?)?\Z")

_STORED: Mapping[str, Mapping[str, Endpoint]] = {
    "": {"GET": response_missing, "DELETE": response_missing},
    "cancel": {"POST": response_missing},
    "input_items": {"GET": response_missing},
}


def _responses(path: str) -> Mapping[str, Endpoint]:
    _, _, rest = path.partition("/v1/responses")
    if not rest:
        return {"POST": response_create}
    _, _, action = rest[1:].partition("/")
    return _STORED[action]


RESPONSES_PATHS = Paths(_responses, scope=INFERENCE)
