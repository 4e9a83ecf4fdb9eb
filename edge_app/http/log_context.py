"""The ids of a request's path, in every line that is logged while the request is served."""

from __future__ import annotations

from structlog.contextvars import bind_contextvars

from core_app.jsontext import clean_text
from edge_app.http.asgi import Scope


def bind_path_ids(scope: Scope) -> None:
    """Binds the path's parameters that end in `_id`: `session_id` as `session`."""
    parameters = scope["url_route"]["kwargs"]
    ids = {name.removesuffix("_id"): clean_text(value) for name, value in parameters.items() if name.endswith("_id")}
    bind_contextvars(**ids)
