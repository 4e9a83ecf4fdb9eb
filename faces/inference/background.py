"""Chat completions and messages in the background: `x-gateway-background: true`, and what becomes of them.

The answer to such a request is 202 with the completion's id and its path as `Location`: its state, or its stream where
the request asks for one. A client that leaves ends nothing.
"""

from __future__ import annotations

from contextlib import nullcontext
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
    PATHS,
    completion_deleted,
    completion_path,
    completion_state,
    completion_to_wire,
)
from responses_app.models import Kind, StoredResponse
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
    """Starts the completion, and sends its state or its stream."""
    # Before anything starts: a client that is refused its stream would ask for another completion.
    with FOLLOWERS.track(exchange.principal) if envelope.streamed else nullcontext():
        row, state = await _start(kind, exchange, body, envelope)
        exchange.headers.append((b"location", completion_path(row).encode()))
        exchange.release_body()
        if envelope.streamed:
            await send_completion(exchange, row, None, status=202)
        else:
            await exchange.send_json(202, state)


def completion_endpoints(kind: Kind) -> dict[str, dict[str, Endpoint[Dialect]]]:
    """Returns the methods of one completion's path, and of what is behind it."""

    async def read(exchange: Exchange) -> None:
        query = query_of(exchange.scope)
        row = await database.run(completion_get, exchange.principal, kind, _completion_id(kind, exchange))
        if boolean(query, "stream"):
            with FOLLOWERS.track(exchange.principal):
                await send_completion(exchange, row, requested_number(exchange.scope, query))
            return
        shown = completion_to_wire(row)
        await exchange.send_json(shown.status, shown.body, [_NOT_AGAIN] if shown.status >= 400 else None)

    async def remove(exchange: Exchange) -> None:
        public_id = _completion_id(kind, exchange)
        await database.run(completion_delete, principal=exchange.principal, kind=kind, public_id=public_id)
        await exchange.send_json(200, completion_deleted(kind, public_id))

    async def stop(exchange: Exchange) -> None:
        public_id = _completion_id(kind, exchange)
        row = await database.run(completion_cancel, principal=exchange.principal, kind=kind, public_id=public_id)
        await exchange.send_json(200, completion_state(row))

    return {"": {"GET": read, "DELETE": remove}, "cancel": {"POST": stop}}


async def _start(kind: Kind, exchange: Exchange, body: bytes, envelope: Envelope) -> tuple[StoredResponse, Any]:
    """Returns the completion with its first state; of a repeated request, those of the first."""
    principal = exchange.principal
    found = await _claim(kind, exchange, body)
    if isinstance(found, Replay):
        exchange.headers.append((b"idempotent-replayed", b"true"))
        state = decode(found.body)
        return await database.run(completion_get, principal, kind, state["id"]), state
    headers = exchange.forwarded_headers(FORWARDED_HEADERS)
    try:
        request = CompletionRequest(kind, envelope, headers, found)
        row = await database.run(completion_start, principal=principal, request=request)
    except BaseException:
        if found is not None:
            await database.run(idempotency_release, claim=found)
        raise
    return row, completion_state(row)


async def _claim(kind: Kind, exchange: Exchange, body: bytes) -> Claim | Replay | None:
    key = header(exchange.scope, IDEMPOTENCY_KEY)
    if key is None:
        return None
    tenant_id, route = exchange.principal.tenant_id, f"POST {PATHS[kind]}"
    return await database.run(idempotency_begin, tenant_id=tenant_id, key=key.decode("latin-1"), route=route, body=body)


def _completion_id(kind: Kind, exchange: Exchange) -> str:
    path: str = exchange.scope["path"]
    return path.removeprefix(f"{PATHS[kind]}/").partition("/")[0]
