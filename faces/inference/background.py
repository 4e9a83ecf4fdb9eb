"""Chat completions and messages in the background: `x-gateway-background: true`, and what becomes of them.

The answer to such a request is 202 with the completion's id and state, and with its path as `Location`, whether or not
the request asks for a stream: that one is behind the path. A client that leaves ends nothing.
"""

from __future__ import annotations

from typing import Any

from core_app import database
from core_app.errors import BadRequest
from core_app.jsontext import decode
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import Scope, header
from edge_app.http.exchange import Endpoint
from edge_app.http.query import boolean, query_of
from faces.inference.completion_stream import requested_number, send_completion
from faces.inference.http import Exchange
from inference_app.providers.upstreams import FORWARDED_HEADERS
from inference_app.relay import Dialect, Envelope
from responses_app.completions.services import (
    CompletionRequest,
    completion_cancel,
    completion_delete,
    completion_get,
    completion_start,
)
from responses_app.completions.wire import (
    BACKGROUND_PATH,
    PATHS,
    completion_deleted,
    completion_path,
    completion_state,
    completion_to_wire,
)
from responses_app.models import Kind
from tenants_app.services.idempotency import Claim, Replay, idempotency_begin, idempotency_release

HEADER = b"x-gateway-background"
IDEMPOTENCY_KEY = b"idempotency-key"
_NOT_AGAIN = (b"x-should-retry", b"false")
"""What the official clients obey: an error that was stored is the same every time."""


def is_background(scope: Scope) -> bool:
    """True if the request is to run in the background. Raises BadRequest for a value that is none."""
    given = (header(scope, HEADER) or b"false").decode("latin-1").strip().lower()
    if given not in ("true", "false"):
        raise BadRequest("x-gateway-background must be true or false.", field="x-gateway-background")
    return given == "true"


async def completion_create(kind: Kind, exchange: Exchange, body: bytes, envelope: Envelope) -> None:
    """Starts the completion, and sends its state."""
    state = await _start(kind, exchange, body, envelope)
    exchange.headers.append((b"location", completion_path(state["id"]).encode()))
    exchange.release_body()
    await exchange.send_json(202, state)


def completion_endpoints(kind: Kind | None) -> dict[str, dict[str, Endpoint[Dialect]]]:
    """Returns the methods of one completion's path, and of what is behind it: those of a dialect's own path, which has
    completions of its `kind` alone, or for None those of the path of both."""
    root, numbers = (BACKGROUND_PATH, ("after",)) if kind is None else (PATHS[kind], ("after", "starting_after"))

    def id_in_path(exchange: Exchange) -> str:
        path: str = exchange.scope["path"]
        return path.removeprefix(f"{root}/").partition("/")[0]

    async def read(exchange: Exchange) -> None:
        query = query_of(exchange.scope)
        row = await database.run(completion_get, exchange.principal, kind, id_in_path(exchange))
        if boolean(query, "stream"):
            with FOLLOWERS.track(exchange.principal):
                await send_completion(exchange, row, requested_number(exchange.scope, query, numbers))
            return
        shown = completion_to_wire(row)
        await exchange.send_json(shown.status, shown.body, [_NOT_AGAIN] if shown.status >= 400 else None)

    async def remove(exchange: Exchange) -> None:
        public_id = id_in_path(exchange)
        row = await database.run(completion_delete, principal=exchange.principal, kind=kind, public_id=public_id)
        await exchange.send_json(200, completion_deleted(row))

    async def stop(exchange: Exchange) -> None:
        public_id = id_in_path(exchange)
        row = await database.run(completion_cancel, principal=exchange.principal, kind=kind, public_id=public_id)
        await exchange.send_json(200, completion_state(row))

    return {"": {"GET": read, "DELETE": remove}, "cancel": {"POST": stop}}


async def _start(kind: Kind, exchange: Exchange, body: bytes, envelope: Envelope) -> Any:
    """Returns the completion's first state; of a repeated request, that of the first."""
    principal = exchange.principal
    found = await _claim(kind, exchange, body)
    if isinstance(found, Replay):
        exchange.headers.append((b"idempotent-replayed", b"true"))
        state = decode(found.body)
        # One that was deleted has no state.
        await database.run(completion_get, principal, kind, state["id"])
        return state
    headers = exchange.forwarded_headers(FORWARDED_HEADERS)
    try:
        request = CompletionRequest(kind, envelope, headers, found)
        row = await database.run(completion_start, principal=principal, request=request)
    except BaseException:
        if found is not None:
            await database.run(idempotency_release, claim=found)
        raise
    return completion_state(row)


async def _claim(kind: Kind, exchange: Exchange, body: bytes) -> Claim | Replay | None:
    key = header(exchange.scope, IDEMPOTENCY_KEY)
    if key is None:
        return None
    tenant_id, route = exchange.principal.tenant_id, f"POST {PATHS[kind]}"
    return await database.run(idempotency_begin, tenant_id=tenant_id, key=key.decode("latin-1"), route=route, body=body)
