"""/v1/conversations and their items."""

from __future__ import annotations

from core_app import database
from core_app.errors import BadRequest
from edge_app.http.query import query_of
from faces.responses.http import Exchange, read_object
from faces.responses.stored import page_of
from responses_app.conversations import (
    conversation_change,
    conversation_create,
    conversation_delete,
    conversation_get,
    conversation_item_delete,
    conversation_item_get,
    conversation_items_add,
    conversation_items_page,
    conversation_to_wire,
)
from responses_app.items import list_of


async def conversation_open(exchange: Exchange) -> None:
    """Creates a conversation."""
    given = await read_object(exchange)
    row = await database.run(
        conversation_create, principal=exchange.principal, items=given.get("items"), metadata=given.get("metadata")
    )
    await exchange.send_json(200, conversation_to_wire(row))


async def conversation_read(exchange: Exchange) -> None:
    """Sends a conversation."""
    row = await database.run(conversation_get, exchange.principal, _segment(exchange, 3))
    await exchange.send_json(200, conversation_to_wire(row))


async def conversation_update(exchange: Exchange) -> None:
    """Replaces a conversation's metadata."""
    given = await read_object(exchange)
    if "metadata" not in given:
        raise BadRequest("'metadata' is required.", field="metadata")
    row = await database.run(
        conversation_change,
        principal=exchange.principal,
        public_id=_segment(exchange, 3),
        metadata=given["metadata"],
    )
    await exchange.send_json(200, conversation_to_wire(row))


async def conversation_remove(exchange: Exchange) -> None:
    """Removes a conversation with its items."""
    public_id = _segment(exchange, 3)
    await database.run(conversation_delete, principal=exchange.principal, public_id=public_id)
    await exchange.send_json(200, {"id": public_id, "object": "conversation.deleted", "deleted": True})


async def items_create(exchange: Exchange) -> None:
    """Adds items to a conversation, and sends them with their ids."""
    given = await read_object(exchange)
    items = await database.run(
        conversation_items_add,
        principal=exchange.principal,
        public_id=_segment(exchange, 3),
        items=given.get("items"),
    )
    await exchange.send_json(200, list_of(items, has_more=False))


async def items_list(exchange: Exchange) -> None:
    """Sends a page of a conversation's items."""
    page = page_of(query_of(exchange.scope))
    await exchange.send_json(
        200, await database.run(conversation_items_page, exchange.principal, _segment(exchange, 3), page)
    )


async def item_read(exchange: Exchange) -> None:
    """Sends one item."""
    item = await database.run(conversation_item_get, exchange.principal, _segment(exchange, 3), _segment(exchange, 5))
    await exchange.send_json(200, item)


async def item_remove(exchange: Exchange) -> None:
    """Removes one item, and sends the conversation."""
    row = await database.run(
        conversation_item_delete,
        principal=exchange.principal,
        public_id=_segment(exchange, 3),
        item_id=_segment(exchange, 5),
    )
    await exchange.send_json(200, conversation_to_wire(row))


def _segment(exchange: Exchange, number: int) -> str:
    path: str = exchange.scope["path"]
    return path.split("/")[number]
