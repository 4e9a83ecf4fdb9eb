"""A face's share of the OpenAPI document: operations of its views, path items of its consumers, schemas.

`gateway_project.openapi` puts the document together from these values; what all operations have in common (errors,
headers, credentials) is added there. Loading this takes longer than a start should, so a `Face` only names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drf_spectacular.utils import Direction, OpenApiParameter
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

Schema = dict[str, Any]
Shape = type[Serializer[Any]] | Mapping[str, Any]
Resolve = Callable[[type[Serializer[Any]], Direction], Schema]
"""Makes a reference to a serializer's component, for the direction `request` or `response`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a view. `responses` are its successes (None: no body), `errors` further error statuses;
    `located`: the response has a `Location`."""

    id: str
    tag: str
    summary: str
    responses: Mapping[int, Shape | None]
    request: Shape | None = None
    query: Sequence[OpenApiParameter] = ()
    errors: Sequence[int] = field(default=())
    located: bool = False
    description: str = ""
    """Sentences below the summary, in Markdown."""

    credential: str = ""
    """The security scheme of the only credential that the operation takes; empty for the gateway's keys."""

    example: Any = None
    """A request body that works as it is; None for an operation without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceDocument:
    """A face's operations, paths and schemas; the value that `Face.openapi` names."""

    tags: Sequence[str]
    """In the order in which the pages list them."""

    operations: Mapping[tuple[type[APIView], str], Operation] = field(default_factory=dict)
    """By viewset class and action."""

    paths: Callable[[Resolve], Mapping[str, Schema]] = lambda resolve: {}
    """Makes the path items of consumers and bare endpoints, which no view inspector sees."""

    error: str = ""
    """The component, among `schemas`, of the face's errors; without it they have the native shape."""

    schemas: Callable[[], Mapping[str, Schema]] = dict
    """Makes the components that no serializer has: events, errors in the face's own shape."""

    path_parameters: Mapping[str, str] = field(default_factory=dict)
    """Descriptions of parameters in paths, by name."""


def parameter(name: str, schema: Mapping[str, Any], description: str, *, required: bool = False) -> OpenApiParameter:
    """Returns a parameter of the query."""
    return OpenApiParameter(name, dict(schema), OpenApiParameter.QUERY, description=description, required=required)
