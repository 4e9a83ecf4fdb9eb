"""Embeddings of a space's entries: made by the gateway's own relay, stored beside the entries, compared one by one.

A search embeds what has no vector of the configured model yet, the newest first and NEW at most. It compares the
newest SCANNED entries: an exact scan in Python, because neither database is sure to have an index for vectors.
"""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Sequence
from typing import TypeAlias

from django.db.models import Q

from core_app import jsontext
from core_app.database import write_transaction
from core_app.errors import UpstreamError
from core_app.ids import new_id
from faces.mesh.models import SearchEntry
from faces.mesh.search_index import Match
from inference_app.relay import OPENAI, UpstreamRequest, open_envelope, take_token, upstream_call
from tenants_app.principal import Principal

NEW = 256
AT_ONCE = 64
"""Texts in one request to the provider."""

SCANNED = 10_000
CHARACTERS = 2000
"""The beginning of a text that is embedded."""

Vector: TypeAlias = "array[float]"


async def embed(principal: Principal, model: str, texts: Sequence[str]) -> list[Vector]:
    """Returns a vector of length one for each text. Raises GatewayError, as relayed requests do."""
    vectors: list[Vector] = []
    for start in range(0, len(texts), AT_ONCE):
        some = list(texts[start : start + AT_ONCE])
        await take_token(principal, "embeddings")
        body = jsontext.encode({"model": model, "input": some, "encoding_format": "float"})
        request = UpstreamRequest(
            kind="embeddings",
            envelope=await open_envelope(body),
            principal=principal,
            request_id=new_id("req"),
            dialect=OPENAI,
        )
        async with upstream_call(request) as response:
            vectors += _vectors(response.first, len(some))
    return vectors


def entries_missing(space_pk: int, model: str) -> list[tuple[int, str]]:
    """Returns the newest entries without a vector of the model, with their texts."""
    rows = SearchEntry.objects.select_related("message", "artifact").filter(space_id=space_pk)
    rows = rows.filter(Q(embedding_model=None) | ~Q(embedding_model=model)).defer("terms", "embedding")
    return [(entry.pk, _text(entry)) for entry in rows.order_by("-id")[:NEW]]


def embeddings_store(model: str, vectors: Sequence[tuple[int, Vector]]) -> None:
    """Stores vectors; an entry that was removed meanwhile stays removed."""
    with write_transaction():
        for entry_id, vector in vectors:
            SearchEntry.objects.filter(pk=entry_id).update(embedding=vector.tobytes(), embedding_model=model)


def nearest_matches(space_pk: int, model: str, wanted: Vector, limit: int) -> list[Match]:
    """Returns the entries whose vectors are nearest to `wanted`, the nearest first."""
    rows = SearchEntry.objects.filter(space_id=space_pk, embedding_model=model).order_by("-id")[:SCANNED]
    found = []
    for pk, message_id, artifact_id, stored in rows.values_list("pk", "message_id", "artifact_id", "embedding"):
        vector = array("f", bytes(stored or b""))
        if len(vector) == len(wanted):
            found.append(Match(pk, message_id, artifact_id, sum(map(operator.mul, vector, wanted))))
    found.sort(key=lambda match: -match.score)
    return found[:limit]


def _text(entry: SearchEntry) -> str:
    if entry.message is not None:
        return entry.message.content[:CHARACTERS] or " "
    assert entry.artifact is not None  # a constraint of the table
    return f"{entry.artifact.name}\n{entry.artifact.text}"[:CHARACTERS]


def _vectors(body: bytes, count: int) -> list[Vector]:
    """Returns the vectors of a provider's response, in the order of their texts. Raises UpstreamError."""
    try:
        data = sorted(jsontext.decode(body)["data"], key=lambda item: item["index"])
        vectors = [_unit(array("f", item["embedding"])) for item in data]
    except (ValueError, TypeError, KeyError, OverflowError):
        vectors = []
    if len(vectors) != count:
        raise UpstreamError("The provider of spaces.embedding_model returned no usable embeddings.")
    return vectors


def _unit(vector: Vector) -> Vector:
    length = math.sqrt(sum(map(operator.mul, vector, vector)))
    if not length or not math.isfinite(length):
        raise ValueError("A vector without a direction.")
    return array("f", (value / length for value in vector))
