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

    tool = text(help_text="The tool's name at the server.")
    reason = text(help_text="Why the model cannot use it.")


class McpStateSerializer(serializers.Serializer[Any]):
    """The state of a server at its last use."""

    state = serializers.ChoiceField(
        STATES, help_text="The result of the last connection; `unused` before the first one."
    )
    reason = text(allow_null=True, help_text="Why the server has no tools; null while it has.")
    leftOut = LeftOutToolSerializer(many=True, help_text="Tools that cannot be used.")
    protocolVersion = text(
        allow_null=True, help_text="The protocol version that the server speaks; null before the first connection."
    )


class McpServerSerializer(McpStateSerializer):
    """A server of the tenant. Secrets are never shown."""

    name = text(help_text="The name by which sessions use the server, as `mcp:<name>`.")
    source = serializers.ChoiceField(["tenant"], help_text="The owner of the registration.")  # type: ignore[assignment]  # a field of that name
    url = text(help_text="The address of the server's endpoint.")
    description = text(help_text="A note for people.")
    auth = serializers.ChoiceField(list(AUTH), help_text="How the gateway signs in at the server.")
    headerNames = serializers.ListField(
        child=text(), help_text="The names of the headers of auth `header`; their values are never shown."
    )
    scope = text(help_text="The scope that is asked of the authorization server.")
    clientId = text(help_text="The client's id at the authorization server; empty where the gateway registers itself.")
    requiresApproval = serializers.BooleanField(
        help_text="Whether a person has to approve every call of the server's tools."
    )
    timeoutMs = serializers.IntegerField(help_text="The time that a call may take, in milliseconds.")
    enabled = serializers.BooleanField(help_text="Whether sessions may use the server.")
    authorized = serializers.BooleanField(
        allow_null=True, help_text="Whether somebody consented, of auth `oauth`; null for others."
    )
    tools = serializers.IntegerField(help_text="The number of tools at the last connection.")
    createdAt = moment(help_text="The moment of registration.")
    updatedAt = moment(help_text="The moment of the last change.")


class ListedMcpServerSerializer(McpServerSerializer):
    """A server of the tenant or of the operator, whose address is not shown."""

    source = serializers.ChoiceField(
        ["tenant", "operator"], help_text="The owner of the registration: the tenant, or the operator of the gateway."
    )
    url = text(required=False, help_text="The address of the server's endpoint; absent for an operator's server.")
    description = text(required=False, help_text="A note for people.")
    auth = serializers.ChoiceField(list(AUTH), required=False, help_text="How the gateway signs in at the server.")
    headerNames = serializers.ListField(
        child=text(),
        required=False,
        help_text="The names of the headers of auth `header`; their values are never shown.",
    )
    scope = text(required=False, help_text="The scope that is asked of the authorization server.")
    clientId = text(required=False, help_text="The client's id at the authorization server.")
    timeoutMs = serializers.IntegerField(required=False, help_text="The time that a call may take, in milliseconds.")
    authorized = serializers.BooleanField(
        allow_null=True, required=False, help_text="Whether somebody consented, of auth `oauth`; null for others."
    )
    createdAt = moment(required=False, help_text="The moment of registration.")
    updatedAt = moment(required=False, help_text="The moment of the last change.")


class McpServerListSerializer(serializers.Serializer[Any]):
    """By name, the tenant's first."""

    servers = ListedMcpServerSerializer(many=True, help_text="The servers that sessions can use.")


class McpToolSerializer(serializers.Serializer[Any]):
    """A tool of a server; the model calls it by `modelName`."""

    name = text(help_text="The tool's name at the server.")
    modelName = text(help_text="The name by which the model calls the tool.")
    description = text(help_text="What the tool does, as the server says.")


class McpServerTestSerializer(McpStateSerializer):
    """The result of a test."""

    tools = McpToolSerializer(many=True, help_text="The tools of the server.")


class McpConnectSerializer(serializers.Serializer[Any]):
    """The address to open in a browser, in which somebody consents."""

    authorizationUrl = text(help_text="The address to open in a browser, in which somebody consents.")
    expiresAt = moment(help_text="The moment until which the browser has to come back.")


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
        example={"name": "docs", "url": "https://example.com/mcp", "description": "The documentation"},
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
        example={"requiresApproval": True},
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
            "400": {
                "description": "A page: the address lacks a parameter; or an error, of an address that is none.",
                "content": {**_PAGE, "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
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
