"""GET and DELETE /v1/responses/:id, POST …/cancel, GET …/input_items; POST /v1/responses/input_tokens."""

from __future__ import annotations

from core_app import database
from core_app.errors import BadRequest
from edge_app.followers import FOLLOWERS
from edge_app.http.query import Query, boolean, query_of, whole_number
from faces.responses.http import Exchange, read_object
from faces.responses.stream import send_events
from responses_app.counting import input_tokens_estimate
from responses_app.items import Page, items_page, listed_items
from responses_app.selectors import response_get
from responses_app.services import response_cancel, response_delete
from responses_app.wire import list_deleted, response_to_wire

MAX_PAGE = 100


async def response_read(exchange: Exchange) -> None:
    """Sends the response as it is now, or its events."""
    query = query_of(exchange.scope)
    row = await database.run(response_get, exchange.principal, _response_id(exchange))
    if not boolean(query, "stream"):
        await exchange.send_json(200, response_to_wire(row))
        return
    after = query.get("starting_after", "-1")
    number = -1 if after == "-1" else whole_number(after, "starting_after")
    with FOLLOWERS.track(exchange.principal):
        await send_events(exchange, row, number)


async def response_remove(exchange: Exchange) -> None:
    """Removes the response and everything that was kept for it."""
    public_id = _response_id(exchange)
    await database.run(response_delete, principal=exchange.principal, public_id=public_id)
    await exchange.send_json(200, list_deleted(public_id))


async def response_stop(exchange: Exchange) -> None:
    """Cancels a response in the background."""
    row = await database.run(response_cancel, principal=exchange.principal, public_id=_response_id(exchange))
    await exchange.send_json(200, response_to_wire(row))


async def input_items_list(exchange: Exchange) -> None:
    """Sends a page of the response's own input."""
    page = page_of(query_of(exchange.scope))
    row = await database.run(response_get, exchange.principal, _response_id(exchange))
    await exchange.send_json(200, items_page(listed_items(row.public_id, row.input), page))


async def input_tokens_count(exchange: Exchange) -> None:
    """Sends the estimate of the tokens that a request with this body would have as its input."""
    given = await read_object(exchange)
    tokens = await database.run(input_tokens_estimate, exchange.principal, given)
    counted = {"object": "response.input_tokens", "input_tokens": tokens}
    await exchange.send_json(200, counted, [(b"x-gateway-estimated", b"true")])


def page_of(query: Query) -> Page:
    """Returns what `limit`, `after` and `order` say; raises BadRequest."""
    limit = whole_number(query.get("limit", "20"), "limit")
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"'limit' must be from 1 to {MAX_PAGE}.", field="limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequest("'order' must be asc or desc.", field="order")
    return Page(limit, query.get("after") or None, order == "desc")


def _response_id(exchange: Exchange) -> str:
    path: str = exchange.scope["path"]
    return path.split("/")[3]
