"""Operations about MCP servers in the OpenAPI document, and the shapes of their responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.views import APIView

from edge_app.openapi import Operation, Resolve, Schema
from faces.native.openapi.shapes import moment, path_parameter, text
from faces.native.serializers import McpServerCreateSerializer, McpServerPatchSerializer
from faces.native.views.mcp_servers import McpServerViewSet
from tools_app.mcp.services import AUTH

MCP_SERVERS = "MCP servers"
_PAGE: Schema = {"text/html": {"schema": {"type": "string"}}}
_CALLBACK_PARAMETERS = {
    "state": "The credential of the authorization, good once.",
    "code": "The code that is exchanged for a token.",
    "iss": "The authorization server.",
    "error": "In place of a code: why there is none.",
}
STATES = ["unused", "ok", "unavailable", "unauthorized"]


class LeftOutToolSerializer(serializers.Serializer[Any]):
    """A tool that the model is not told of."""

    tool = text()
    reason = text()


class McpStateSerializer(serializers.Serializer[Any]):
    """The state of a server at its last use."""

    state = serializers.ChoiceField(STATES)
    reason = text(allow_null=True, help_text="Why it has no tools.")
    leftOut = LeftOutToolSerializer(many=True, help_text="Tools that cannot be used.")
    protocolVersion = text(allow_null=True)


class McpServerSerializer(McpStateSerializer):
    """A server of the tenant. Secrets are never shown."""

    name = text()
    source = serializers.ChoiceField(["tenant"])  # type: ignore[assignment]  # a field of that name
    url = text()
    description = text()
    auth = serializers.ChoiceField(list(AUTH))
    headerNames = serializers.ListField(child=text())
    scope = text()
    clientId = text()
    requiresApproval = serializers.BooleanField()
    timeoutMs = serializers.IntegerField()
    enabled = serializers.BooleanField()
    authorized = serializers.BooleanField(allow_null=True, help_text="Of auth `oauth`; null for others.")
    tools = serializers.IntegerField(help_text="The number of tools at the last connection.")
    createdAt = moment()
    updatedAt = moment()


class ListedMcpServerSerializer(McpServerSerializer):
    """A server of the tenant or of the operator, whose address is not shown."""

    source = serializers.ChoiceField(["tenant", "operator"])
    url = text(required=False)
    description = text(required=False)
    auth = serializers.ChoiceField(list(AUTH), required=False)
    headerNames = serializers.ListField(child=text(), required=False)
    scope = text(required=False)
    clientId = text(required=False)
    timeoutMs = serializers.IntegerField(required=False)
    authorized = serializers.BooleanField(allow_null=True, required=False)
    createdAt = moment(required=False)
    updatedAt = moment(required=False)


class McpServerListSerializer(serializers.Serializer[Any]):
    """By name, the tenant's first."""

    servers = ListedMcpServerSerializer(many=True)


class McpToolSerializer(serializers.Serializer[Any]):
    """A tool of a server; the model calls it by `modelName`."""

    name = text()
    modelName = text()
    description = text()


class McpServerTestSerializer(McpStateSerializer):
    """The result of a test."""

    tools = McpToolSerializer(many=True)


class McpConnectSerializer(serializers.Serializer[Any]):
    """The address to open in a browser, in which somebody consents."""

    authorizationUrl = text()
    expiresAt = moment()


MCP_OPERATIONS: Mapping[tuple[type[APIView], str], Operation] = {
    (McpServerViewSet, "list"): Operation(
        id="listMcpServers",
        tag=MCP_SERVERS,
        summary="List the MCP servers that sessions can use",
        responses={200: McpServerListSerializer},
    ),
    (McpServerViewSet, "create"): Operation(
        id="createMcpServer",
        tag=MCP_SERVERS,
        summary="Register an MCP server",
        request=McpServerCreateSerializer,
        responses={201: McpServerSerializer},
        errors=(409,),
        located=True,
    ),
    (McpServerViewSet, "retrieve"): Operation(
        id="getMcpServer", tag=MCP_SERVERS, summary="Get an MCP server", responses={200: McpServerSerializer}
    ),
    (McpServerViewSet, "partial_update"): Operation(
        id="changeMcpServer",
        tag=MCP_SERVERS,
        summary="Change an MCP server",
        request=McpServerPatchSerializer,
        responses={200: McpServerSerializer},
    ),
    (McpServerViewSet, "destroy"): Operation(
        id="deleteMcpServer", tag=MCP_SERVERS, summary="Delete an MCP server", responses={204: None}
    ),
    (McpServerViewSet, "disconnect"): Operation(
        id="disconnectMcpServer",
        tag=MCP_SERVERS,
        summary="Forget the authorization of an MCP server",
        responses={200: McpServerSerializer},
    ),
}
"""By viewset and action."""


def paths(resolve: Resolve) -> dict[str, Schema]:
    """Returns the path items of the endpoints that are no views."""
    server = "/v1/mcp-servers/{server}"
    return {
        f"{server}/test": {
            "post": _operation(
                "testMcpServer",
                "Connect to an MCP server and list its tools",
                resolve(McpServerTestSerializer, "response"),
            )
        },
        f"{server}/connect": {
            "post": {
                **_operation(
                    "connectMcpServer",
                    "Begin the OAuth authorization of an MCP server",
                    resolve(McpConnectSerializer, "response"),
                ),
                "x-errors": [409, 422],
            }
        },
        "/v1/mcp-oauth/callback": {"get": _callback()},
        "/v1/mcp-oauth/client.json": {"get": _client_document()},
    }


def _callback() -> Schema:
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string"}, "description": description}
        for name, description in _CALLBACK_PARAMETERS.items()
    ]
    return {
        "operationId": "completeMcpAuthorization",
        "tags": [MCP_SERVERS],
        "summary": "The address where a browser comes back from an authorization server",
        "parameters": parameters,
        "responses": {
            "200": {"description": "A page for the person.", "content": _PAGE},
            "400": {"description": "A page: the address lacks a parameter.", "content": _PAGE},
            "404": {"description": "A page: no such authorization is awaited.", "content": _PAGE},
            "409": {"description": "A page: the server was changed meanwhile.", "content": _PAGE},
            "422": {"description": "A page: the authorization server gave no token.", "content": _PAGE},
        },
        "x-open": True,
    }


def _client_document() -> Schema:
    return {
        "operationId": "getMcpClientDocument",
        "tags": [MCP_SERVERS],
        "summary": "The gateway as an OAuth client, for authorization servers",
        "responses": {
            "200": {"description": "The document.", "content": {"application/json": {"schema": {"type": "object"}}}}
        },
        "x-open": True,
    }


def _operation(operation_id: str, summary: str, schema: Any) -> Schema:
    return {
        "operationId": operation_id,
        "tags": [MCP_SERVERS],
        "summary": summary,
        "parameters": [path_parameter("server")],
        "responses": {"200": {"description": "Done.", "content": {"application/json": {"schema": schema}}}},
        "x-scope": "admin",
    }
