"""The base of this face's viewsets: fields in errors are spelled as the protocol has them, in snake_case."""

from __future__ import annotations

from typing import Any, TypeVar

from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.errors import validation_error
from edge_app.rest.viewsets import GatewayViewSet

S = TypeVar("S", bound=serializers.BaseSerializer[Any])


class MeshViewSet(GatewayViewSet):
    """Base viewset."""

    def parse_body(self, serializer_class: type[S]) -> S:
        """Returns a serializer with the validated body. Raises BadRequest that names the field."""
        try:
            return super().parse_body(serializer_class)
        except exceptions.ValidationError as error:
            raise validation_error(error.get_full_details(), str) from None

    def location(self, path: str) -> dict[str, str]:
        """Returns the header `Location` of a path of this face, under `/v1` if the request came there."""
        prefix = "/v1" if self.request.path.startswith("/v1/") else ""
        return {"Location": f"{prefix}{path}"}


def page_link(request: Request, response: Response, cursor: int | None) -> Response:
    """Adds the address of the next page to a response whose body is an array."""
    if cursor is not None:
        query = request.query_params.copy()
        query["cursor"] = str(cursor)
        response.headers["Link"] = f'<{request.path}?{query.urlencode()}>; rel="next"'
    return response
