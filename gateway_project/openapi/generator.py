"""drf-spectacular for the viewsets of all faces, with the operations of their documents.

What follows from a viewset itself (scope, Idempotency-Key, whether a key is needed) is read from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from edge_app.openapi import Operation, Schema
from edge_app.rest.viewsets import GatewayViewSet
from gateway_project.openapi import components

Operations = Mapping[tuple[type[APIView], str], Operation]


class ViewSchema(AutoSchema):
    """Describes one action of one viewset."""

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations
        self._documented = {viewset for viewset, _ in operations}

    @property
    def operation(self) -> Operation:
        """The face's entry for the action; an action without one cannot be documented."""
        return self._operations[type(self._viewset), self._action]

    @property
    def _viewset(self) -> GatewayViewSet:
        return cast("GatewayViewSet", self.view)

    @property
    def _action(self) -> str:
        return str(self._viewset.action)

    @property
    def _idempotent(self) -> bool:
        return getattr(getattr(self._viewset, self._action), "idempotent", False)

    def get_operation(self, *args: Any, **kwargs: Any) -> Schema | None:
        """Returns the operation; None, which leaves it out, for a view of a face that documents none."""
        if type(self.view) not in self._documented:
            return None
        operation: Schema | None = super().get_operation(*args, **kwargs)
        assert operation is not None  # nothing here is excluded
        if not self._viewset.authentication_classes:
            operation["x-open"] = True
        elif (scope := self._viewset.required_scope(self._action)) is not None:
            operation["x-scope"] = scope
        if self.operation.credential:
            operation["x-credential"] = self.operation.credential
        operation["x-errors"] = [*self.operation.errors, *(components.IDEMPOTENT if self._idempotent else ())]
        if self._idempotent:
            operation["parameters"] = [*operation.get("parameters", ()), components.IDEMPOTENCY_KEY]
        if hasattr(self.operation.request, "document_rules"):
            operation["requestBody"]["required"] = True  # an empty body breaks the rules between its fields
        if self.operation.example is not None:
            for content in operation["requestBody"]["content"].values():
                content["example"] = self.operation.example
        for status, response in operation["responses"].items():
            response |= {"headers": self._headers(), "description": HTTPStatus(int(status)).phrase}
        return operation

    def _headers(self) -> Schema:
        location = ("Location",) if self.operation.located else ()
        replayed = ("IdempotentReplayed",) if self._idempotent else ()
        return components.header_references(*location, *replayed)

    def _map_basic_serializer(self, serializer: Any, direction: Direction) -> Schema:
        """Adds the rules between fields, which a serializer has in `document_rules`."""
        schema: Schema = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        return schema | getattr(serializer, "document_rules", {})

    def get_operation_id(self) -> str:
        return self.operation.id

    def get_description(self) -> str:  # type: ignore[override]  # as in AutoSchema
        return self.operation.description

    def get_summary(self) -> str | None:
        return self.operation.summary

    def get_tags(self) -> list[str]:
        return [self.operation.tag]

    def get_override_parameters(self) -> list[Any]:
        return list(self.operation.query)

    def get_request_serializer(self) -> Any:
        request = self.operation.request
        return {"application/json": request} if isinstance(request, Mapping) else request

    def get_response_serializers(self) -> Any:
        return dict(self.operation.responses)

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False  # pages are objects, not arrays

    def get_auth(self) -> list[Schema]:
        return []

    def get_serializer_name(self, serializer: Serializer[Any], direction: str) -> str:
        return str(type(serializer).__name__).removesuffix("Serializer")


class DocumentGenerator(SchemaGenerator):
    """Gives every view a `ViewSchema`, without a setting that DRF would import while it loads its views."""

    def __init__(self, operations: Operations) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operations = operations

    def create_view(self, callback: Any, method: str, request: Any = None) -> Any:
        view = super().create_view(callback, method, request)  # type: ignore[no-untyped-call]
        self._set_schema_to_view(view, ViewSchema(self._operations))  # type: ignore[no-untyped-call]
        return view

    def resolve_serializer(self, serializer: type[Serializer[Any]], direction: Direction) -> Schema:
        """Returns a reference to the serializer's component, which it makes where there is none yet."""
        schema = ViewSchema(self._operations)
        schema.view, schema.registry, schema.method = APIView(), self.registry, "POST"
        reference: Schema = schema.resolve_serializer(serializer(context={"view": schema.view}), direction).ref
        return reference


class JSONObjectSchema(OpenApiSerializerFieldExtension):
    """Describes `edge_app.rest.fields.JSONObject`."""

    target_class = "edge_app.rest.fields.JSONObject"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        return {"type": "object", "additionalProperties": {}}


class StrictInstantSchema(OpenApiSerializerFieldExtension):
    """Describes `edge_app.rest.fields.StrictInstant`."""

    target_class = "edge_app.rest.fields.StrictInstant"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        return {"type": "string", "format": "date-time"}
