"""A tenant's MCP servers. Testing and authorizing them waits for others, and is in `faces.native.mcp_endpoints`."""

from __future__ import annotations

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.viewsets import GatewayViewSet, idempotent
from faces.native.serializers import McpServerCreateSerializer, McpServerPatchSerializer
from tenants_app.principal import ADMIN, SESSIONS_READ
from tools_app.mcp.selectors import server_get, server_to_wire, servers_list, state_of
from tools_app.mcp.services import grant_forget, server_change, server_create, server_delete


class McpServerViewSet(GatewayViewSet):
    """MCP servers by name; the list has the operator's too."""

    scope = ADMIN
    scopes = {"list": SESSIONS_READ, "retrieve": SESSIONS_READ}
    lookup_url_kwarg = "server"

    def list(self, request: Request) -> Response:
        return Response({"servers": servers_list(self.principal)})

    @idempotent
    def create(self, request: Request) -> Response:
        data = self.parse_body(McpServerCreateSerializer).validated_data
        with self.work_transaction():
            row = server_create(principal=self.principal, **data)
            headers = {"Location": f"/v1/mcp-servers/{row.name}"}
            return self.store_response(Response(server_to_wire(row, None), status=201, headers=headers))

    def retrieve(self, request: Request, server: str) -> Response:
        row = server_get(self.principal, server)
        return Response(server_to_wire(row, state_of(row)))

    def partial_update(self, request: Request, server: str) -> Response:
        server_get(self.principal, server)
        changes = self.parse_body(McpServerPatchSerializer).validated_data
        row = server_change(principal=self.principal, name=server, changes=changes)
        return Response(server_to_wire(row, state_of(row)))

    def destroy(self, request: Request, server: str) -> Response:
        server_delete(principal=self.principal, name=server)
        return Response(status=204)

    @action(detail=True, methods=["post"], name="MCP Server Disconnect")
    def disconnect(self, request: Request, server: str) -> Response:
        """Forgets the authorization."""
        row = grant_forget(principal=self.principal, name=server)
        return Response(server_to_wire(row, state_of(row)))
