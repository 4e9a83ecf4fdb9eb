"""How drf-spectacular is told of our views: from the tables of operations, and from what the views say themselves."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry
from drf_spectacular.utils import Direction
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from edge_app.rest.viewsets import GatewayViewSet
from faces.native.openapi.operation import Operation
from faces.native.openapi.operations import OPERATIONS
from gateway_project.openapi import answers

Schema = dict[str, Any]


class ViewSchema(AutoSchema):
    """One method of one view."""

    @property
    def operation(self) -> Operation:
        """The table's entry; an action that has none cannot be documented."""
        return OPERATIONS[type(self._viewset), str(self._viewset.action)]

    @property
    def _viewset(self) -> GatewayViewSet:
        return cast("GatewayViewSet", self.view)

    @property
    def _idempotent(self) -> bool:
        return getattr(getattr(self._viewset, str(self._viewset.action)), "idempotent", False)

    def get_operation(self, *args: Any, **kwargs: Any) -> Schema | None:
        operation: Schema | None = super().get_operation(*args, **kwargs)
        assert operation is not None  # nothing here is excluded
        if not self.view.authentication_classes:
            operation["x-open"] = True
        elif (scope := self._viewset.required_scope(str(self._viewset.action))) is not None:
            operation["x-scope"] = scope
        operation["x-errors"] = [*self.operation.errors, *(answers.IDEMPOTENT if self._idempotent else ())]
        if self._idempotent:
            operation["parameters"] = [*operation.get("parameters", ()), answers.IDEMPOTENCY_KEY]
        for status, answer in operation["responses"].items():
            answer |= {"headers": self._headers(), "description": HTTPStatus(int(status)).phrase}
        return operation

    def _headers(self) -> Schema:
        located = ("Location",) if self.operation.located else ()
        replayed = ("IdempotentReplayed",) if self._idempotent else ()
        return answers.header_references(*located, *replayed)

    def get_operation_id(self) -> str:
        return self.operation.id

    def get_description(self) -> str:  # type: ignore[override]  # as in AutoSchema
        return ""

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
        return dict(self.operation.answers)

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False  # pages are objects of their own

    def get_auth(self) -> list[Schema]:
        return []

    def get_serializer_name(self, serializer: Serializer[Any], direction: str) -> str:
        return str(type(serializer).__name__).removesuffix("Serializer")


class Inspector(SchemaGenerator):
    """Every view gets our ViewSchema, without a setting that DRF would import while it loads its views."""

    def create_view(self, callback: Any, method: str, request: Any = None) -> Any:
        view = super().create_view(callback, method, request)  # type: ignore[no-untyped-call]
        self._set_schema_to_view(view, ViewSchema())  # type: ignore[no-untyped-call]
        return view


def resolver(registry: ComponentRegistry) -> Any:
    """`(serializer class, direction)` → a reference to its component in `registry`."""
    schema = ViewSchema()
    schema.view, schema.registry, schema.method = APIView(), registry, "POST"

    def resolve(serializer: type[Serializer[Any]], direction: Direction) -> Schema:
        reference: Schema = schema.resolve_serializer(serializer(context={"view": schema.view}), direction).ref
        return reference

    return resolve


class JSONObjectSchema(OpenApiSerializerFieldExtension):
    """`edge_app.rest.fields.JSONObject`."""

    target_class = "edge_app.rest.fields.JSONObject"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        return {"type": "object", "additionalProperties": {}}


class ToolEntrySchema(OpenApiSerializerFieldExtension):
    """`tools` of a new session: names and registrations."""

    target_class = "faces.native.serializers.ToolEntry"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        return {"oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/ToolRegistrationRequest"}]}
