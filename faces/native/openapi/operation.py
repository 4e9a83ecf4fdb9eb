"""What the OpenAPI document says of one operation: the rows of the tables of operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.serializers import Serializer

Shape = type[Serializer[Any]] | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `answers` are its successes (None: no body), `errors` what it may refuse beside the common
    ones; `located`: the answer's Location is what was made."""

    id: str
    tag: str
    summary: str
    answers: Mapping[int, Shape | None]
    request: Shape | None = None
    query: Sequence[OpenApiParameter] = ()
    errors: Sequence[int] = field(default=())
    located: bool = False


def parameter(name: str, schema: Mapping[str, Any], description: str) -> OpenApiParameter:
    """An optional parameter of the query."""
    return OpenApiParameter(name, dict(schema), OpenApiParameter.QUERY, description=description)
