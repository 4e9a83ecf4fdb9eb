"""Items of the type `item_reference`: an item of an earlier response, by its id.

Some clients send the items of earlier turns so, and not as `previous_response_id`. A reference that the tenant has no
item for is left as it is: a provider of this API may have stored it, and others refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core_app import jsontext
from responses_app.items import Json, replayed_item
from responses_app.models import ResponseItem, StoredResponse

_MARK = b'"item_reference"'
MAX_ITEM_ID = 128


def has_references(items: bytes) -> bool:
    """True if a list of items may have references."""
    return _MARK in items


def references_resolve(items: bytes, tenant_id: int) -> bytes:
    """Returns the list with the items in place of the references to them. Reasoning that only its provider could look
    up is left out."""
    if not has_references(items):
        return items
    decoded = jsontext.decode_untrusted(items, field="input")
    found = _items_of(tenant_id, {str(item.get("id")) for item in decoded if _is_reference(item)})
    resolved: list[Any] = []
    for item in decoded:
        if not _is_reference(item) or item.get("id") not in found:
            resolved.append(item)
        elif (shown := replayed_item(found[item["id"]])) is not None:
            resolved.append(shown)
    return jsontext.encode(resolved)


def references_add(row: StoredResponse, output: Sequence[Json]) -> None:
    """Makes the items of a response known by their ids."""
    ids = dict.fromkeys(str(item.get("id"))[:MAX_ITEM_ID] for item in output if item.get("id"))
    ResponseItem.objects.bulk_create(
        ResponseItem(tenant_id=row.tenant_id, response=row, public_id=public_id) for public_id in ids
    )


def _items_of(tenant_id: int, ids: set[str]) -> dict[str, Json]:
    """Returns items by their ids; of several with the same id the newest."""
    rows = ResponseItem.objects.filter(tenant_id=tenant_id, public_id__in=ids)
    outputs = StoredResponse.objects.filter(pk__in=rows.values("response_id")).order_by("pk")
    found: dict[str, Json] = {}
    for output in outputs.values_list("output", flat=True):
        found |= {item["id"]: item for item in jsontext.decode(output) if item.get("id") in ids}
    return found


def _is_reference(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "item_reference"
