"""Queries on stored responses. Every look-up is bound to the principal's tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from core_app.errors import BadRequest
from inference_app.errors import ResponseNotFound
from responses_app.conversations import conversation_get, conversation_history, conversation_size
from responses_app.errors import PreviousNotFound
from responses_app.items import replayed_items, replayed_output
from responses_app.models import UNFINISHED, Kind, StoredResponse
from tenants_app.principal import Principal

MAX_CHAIN = 100_000
"""Responses that one chain may have; a guard against a loop in the data, which no service can make."""

# PostgreSQL knows the bytes of a large value without reading it; SQLite counts its characters.
_SIZE = "octet_length" if connection.vendor == "postgresql" else "length"
_CHAIN = f"""
WITH RECURSIVE chain (id, previous_id, status, size, depth) AS (
  SELECT id, previous_id, status, {_SIZE}(input) + {_SIZE}(output), 0
  FROM responses_app_storedresponse WHERE tenant_id = %s AND public_id = %s AND kind = 'responses'
  UNION ALL
  SELECT r.id, r.previous_id, r.status, {_SIZE}(r.input) + {_SIZE}(r.output), c.depth + 1
  FROM chain c JOIN responses_app_storedresponse r ON r.tenant_id = %s AND r.public_id = c.previous_id
  WHERE c.depth < %s
) SELECT id, previous_id, status, size FROM chain ORDER BY depth DESC
"""


class _Link(NamedTuple):
    """One response of a chain, as the first query finds it."""

    pk: int
    previous_id: str | None
    status: str
    size: int


def response_get(principal: Principal, public_id: str) -> StoredResponse:
    """Returns the tenant's response of that id. Raises ResponseNotFound."""
    rows = StoredResponse.objects.filter(tenant_id=principal.tenant_id, kind=Kind.RESPONSES, public_id=public_id[:65])
    if (found := rows.first()) is None:
        raise ResponseNotFound(f"There is no response '{public_id[:100]}'.", field="response_id")
    return found


def chain_items(tenant_id: int, public_id: str) -> list[str]:
    """Returns the items of a response and of all before it, oldest first, each as a list in JSON, in a few queries
    whatever the length of the chain. Raises BadRequest where one is missing, is not finished or all are too large."""
    links = _links(tenant_id, public_id)
    if not links or links[0].previous_id is not None:
        raise PreviousNotFound(links[0].previous_id if links else public_id)
    if any(link.status in UNFINISHED for link in links):
        raise BadRequest(
            "The response of 'previous_response_id' is not finished; wait for its end or cancel it.",
            field="previous_response_id",
        )
    before = _before(links[0].pk)
    _size_check(sum(link.size for link in links) + _conversation_size(before), "previous_response_id")
    return [*_conversation_items(before), *_items_of(links)]


class ConversationPlace(NamedTuple):
    """A place in a conversation: behind the item with the number `through`."""

    conversation_pk: int
    through: int


def conversation_read(principal: Principal, public_id: str) -> tuple[ConversationPlace, list[str]]:
    """Returns the end of a conversation, and the items up to it as lists in JSON. Raises ConversationNotFound, and
    BadRequest if they are too large."""
    row = conversation_get(principal, public_id, field="conversation")
    place = ConversationPlace(row.pk, row.last_number)
    _size_check(_conversation_size(place), "conversation")
    return place, _conversation_items(place)


def place_items(place: ConversationPlace) -> list[str]:
    """Returns the items of a conversation up to a place, as lists in JSON."""
    return _conversation_items(place)


def _before(pk: int) -> ConversationPlace | None:
    """Returns the place in a conversation at which the first response of a chain began; None outside of any. Raises
    PreviousNotFound if the conversation is gone."""
    row = StoredResponse.objects.only("public_id", "conversation", "conversation_through").get(pk=pk)
    if row.conversation_through is None:
        return None
    if row.conversation_id is None:
        raise PreviousNotFound(row.public_id)
    return ConversationPlace(row.conversation_id, row.conversation_through)


def _conversation_size(place: ConversationPlace | None) -> int:
    return 0 if place is None else conversation_size(place.conversation_pk, place.through)


def _conversation_items(place: ConversationPlace | None) -> list[str]:
    if place is None:
        return []
    return [replayed_items(conversation_history(place.conversation_pk, place.through))]


def _size_check(size: int, field: str) -> None:
    limit: int = settings.GATEWAY_MAX_INFERENCE_BODY_BYTES
    if size > limit:
        raise BadRequest(
            f"The conversation before this request has more than {limit} bytes (GATEWAY_MAX_INFERENCE_BODY_BYTES).",
            field=field,
        )


def _links(tenant_id: int, public_id: str) -> list[_Link]:
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, [tenant_id, public_id, tenant_id, MAX_CHAIN])
        return [_Link(*row) for row in cursor.fetchall()]


def _items_of(links: Sequence[_Link]) -> list[str]:
    rows = StoredResponse.objects.only("input", "output", "abandoned").in_bulk([link.pk for link in links])
    lists: list[str] = []
    for link in links:
        row = rows[link.pk]
        lists += (row.input, replayed_output(row.output, row.abandoned))
    return lists
