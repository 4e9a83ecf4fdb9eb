"""Conversations: lists of items that clients keep, and that responses read and add to.

A response reads the items that are there when it begins. It adds its own input and output when it has ended well, in
the transaction of its end; of two that run at a time, the one that ends first comes first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.db.models import Sum
from django.db.models.functions import Length

from core_app import jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, NotFound
from core_app.ids import new_id
from responses_app.errors import ConversationNotFound
from responses_app.items import Json, Page, list_of, listed_items
from responses_app.models import Conversation, ConversationItem
from tenants_app.principal import Principal

_PREFIX = re.compile(r"([a-z]{1,4})_")

MAX_ITEMS = 20
"""Items that one request may add, as the API says."""

MAX_METADATA, MAX_NAME, MAX_VALUE = 16, 64, 512
MAX_ITEM_ID = 128


def conversation_get(principal: Principal, public_id: str, *, field: str = "conversation_id") -> Conversation:
    """Returns the tenant's conversation of that id. Raises ConversationNotFound, which names `field`."""
    return _get(principal.tenant_id, public_id, field)


def conversation_create(*, principal: Principal, items: Any, metadata: Any) -> Conversation:
    """Creates a conversation with its first items. Raises BadRequest."""
    checked, about = items_check(items), metadata_check(metadata)
    with write_transaction():
        row = Conversation.objects.create(
            tenant_id=principal.tenant_id,
            public_id=new_id("conv"),
            metadata=jsontext.encode_text(about),
            end_user=principal.end_user,
        )
        items_add(row.pk, checked)
    return row


def conversation_change(*, principal: Principal, public_id: str, metadata: Any) -> Conversation:
    """Replaces the metadata. Raises BadRequest, ConversationNotFound."""
    about = metadata_check(metadata)
    row = conversation_get(principal, public_id)
    row.metadata = jsontext.encode_text(about)
    with write_transaction():
        row.save(update_fields=["metadata", "updated_at"])
    return row


def conversation_delete(*, principal: Principal, public_id: str) -> None:
    """Removes a conversation with its items. Its responses stay."""
    row = conversation_get(principal, public_id)
    conversations_remove([row.pk])


def conversations_remove(keys: Sequence[int]) -> None:
    """Removes conversations with their items, a transaction for each."""
    for key in keys:
        with write_transaction():
            ConversationItem.objects.filter(conversation_id=key).delete()
            Conversation.objects.filter(pk=key).delete()


def conversation_items_add(*, principal: Principal, public_id: str, items: Any) -> list[Json]:
    """Adds items and returns them with their ids. Raises BadRequest, ConversationNotFound."""
    checked = items_check(items, required=True)
    row = conversation_get(principal, public_id)
    with write_transaction():
        return items_add(row.pk, checked)


def conversation_item_get(principal: Principal, public_id: str, item_id: str) -> Json:
    """Returns one item. Raises ConversationNotFound, NotFound."""
    found: Json = jsontext.decode(_item(conversation_get(principal, public_id), item_id).data)
    return found


def conversation_item_delete(*, principal: Principal, public_id: str, item_id: str) -> Conversation:
    """Removes one item. Raises ConversationNotFound, NotFound."""
    row = conversation_get(principal, public_id)
    item = _item(row, item_id)
    with write_transaction():
        ConversationItem.objects.filter(pk=item.pk).delete()
        row.save(update_fields=["updated_at"])
    return row


def conversation_items_page(principal: Principal, public_id: str, page: Page) -> Json:
    """Returns one page of items as the API's list. Raises ConversationNotFound, and NotFound for an unknown `after`."""
    row = conversation_get(principal, public_id)
    rows = ConversationItem.objects.filter(conversation=row)
    if page.after is not None:
        number = _item(row, page.after, field="after").number
        rows = rows.filter(number__lt=number) if page.descending else rows.filter(number__gt=number)
    ordered = rows.order_by("-number" if page.descending else "number").values_list("data", flat=True)
    found = [jsontext.decode(data) for data in ordered[: page.limit + 1]]
    return list_of(found[: page.limit], has_more=len(found) > page.limit)


def conversation_history(conversation_id: int, through: int) -> str:
    """Returns the items up to a number as a list in JSON."""
    rows = ConversationItem.objects.filter(conversation_id=conversation_id, number__lte=through).order_by("number")
    return f"[{','.join(rows.values_list('data', flat=True))}]"


def conversation_size(conversation_id: int, through: int) -> int:
    """Returns the number of characters of the items up to a number."""
    rows = ConversationItem.objects.filter(conversation_id=conversation_id, number__lte=through)
    return int(rows.aggregate(size=Sum(Length("data")))["size"] or 0)


def items_add(conversation_id: int, items: Sequence[Json]) -> list[Json]:
    """Adds items in the caller's transaction, which has ids for each of them then. An item whose id the conversation
    has already gets another one. Does nothing if the conversation is gone."""
    row = Conversation.objects.select_for_update().filter(pk=conversation_id).first()
    if row is None or not items:
        return []
    first = row.last_number + 1
    taken = set(
        ConversationItem.objects.filter(
            conversation_id=conversation_id, public_id__in=[str(item.get("id")) for item in items]
        ).values_list("public_id", flat=True)
    )
    listed = [_with_own_id(item, taken) for item in listed_items(new_id("item"), jsontext.encode_text(list(items)))]
    ConversationItem.objects.bulk_create(
        ConversationItem(
            conversation_id=conversation_id,
            number=first + index,
            public_id=item["id"],
            data=jsontext.encode_text(item),
        )
        for index, item in enumerate(listed)
    )
    row.last_number += len(listed)
    row.save(update_fields=["last_number", "updated_at"])
    return listed


def conversation_to_wire(row: Conversation) -> Json:
    """Returns the conversation's object."""
    return {
        "id": row.public_id,
        "object": "conversation",
        "created_at": int(row.created_at.timestamp()),
        "metadata": jsontext.decode(row.metadata),
    }


def items_check(items: Any, *, required: bool = False) -> list[Json]:
    """Returns checked items. Raises BadRequest."""
    if items is None and not required:
        return []
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise BadRequest(f"'items' must be a list of at most {MAX_ITEMS} items.", field="items")
    for number, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("type", item.get("role")), str):
            raise BadRequest(
                f"items[{number}] must be an item with a 'type', or a message with a 'role'.", field="items"
            )
        if not isinstance(item.get("id", ""), str | None) or len(item.get("id") or "") > MAX_ITEM_ID:
            raise BadRequest(f"items[{number}].id must be a text of at most {MAX_ITEM_ID} characters.", field="items")
    return items


def metadata_check(metadata: Any) -> dict[str, str]:
    """Returns checked metadata. Raises BadRequest."""
    if metadata is None:
        return {}
    whole = isinstance(metadata, dict) and len(metadata) <= MAX_METADATA
    if not whole or not all(
        isinstance(value, str) and len(name) <= MAX_NAME and len(value) <= MAX_VALUE for name, value in metadata.items()
    ):
        raise BadRequest(
            f"'metadata' must be an object of at most {MAX_METADATA} texts, with names of {MAX_NAME} and values of"
            f" {MAX_VALUE} characters.",
            field="metadata",
        )
    return dict(metadata)


def _with_own_id(item: Json, taken: set[str]) -> Json:
    if item["id"] in taken:
        known = _PREFIX.match(item["id"])
        prefix = known[1] if known is not None else "item"
        item = {**item, "id": new_id(prefix)}
    taken.add(item["id"])
    return item


def _get(tenant_id: int, public_id: str, field: str) -> Conversation:
    found = Conversation.objects.filter(tenant_id=tenant_id, public_id=public_id[:65]).first()
    if found is None:
        raise ConversationNotFound(public_id, field=field)
    return found


def _item(row: Conversation, item_id: str, *, field: str = "item_id") -> ConversationItem:
    found = ConversationItem.objects.filter(conversation=row, public_id=item_id[: MAX_ITEM_ID + 1]).first()
    if found is None:
        raise NotFound(f"The conversation has no item '{item_id[:100]}'.", field=field)
    return found
