"""Tables of MCP servers: those that tenants registered, and the states of all."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from core_app import clock
from tenants_app.models import Tenant


class McpServer(models.Model):
    """A remote MCP server of a tenant, used by its sessions and agents as `mcp:<name>`.

    `sealed_headers` is a JSON object of headers, `sealed_grant` an OAuth grant (`tools_app.mcp.oauth`), `sealed_flow`
    an authorization that somebody has begun and that ends at `flow_until`; `flow_hash` finds it by its `state`.
    `version` changes with every change that connections depend on. `refreshing_until` is the claim of the process that
    refreshes the grant.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    name = models.CharField(max_length=40)
    url = models.TextField()
    description = models.CharField(max_length=200, blank=True, default="")
    auth = models.CharField(max_length=8, default="none")
    header_names = models.JSONField(default=list)
    sealed_headers = models.TextField(null=True)
    scope = models.CharField(max_length=1000, blank=True, default="")
    client_id = models.CharField(max_length=1000, blank=True, default="")
    sealed_client_secret = models.TextField(null=True)
    sealed_grant = models.TextField(null=True)
    grant_expires_at = models.DateTimeField(null=True)
    refreshing_until = models.DateTimeField(null=True)
    flow_hash = models.CharField(max_length=64, null=True, unique=True)
    sealed_flow = models.TextField(null=True)
    flow_until = models.DateTimeField(null=True)
    approval = models.BooleanField(default=False)
    timeout_ms = models.PositiveIntegerField(default=60_000)
    enabled = models.BooleanField(default=True)
    version = models.PositiveBigIntegerField(default=1)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(name="mcp_server_of_tenant", fields=["tenant", "name"]),
            models.CheckConstraint(name="mcp_server_auth", condition=Q(auth__in=["none", "header", "oauth"])),
            models.CheckConstraint(
                name="mcp_server_timeout", condition=Q(timeout_ms__gte=1_000, timeout_ms__lte=600_000)
            ),
        ]

    def __str__(self) -> str:
        return self.name


class McpServerState(models.Model):
    """The state of a server as the process saw it that used it last; a server of the operator has no tenant.

    `left_out` lists the tools that cannot be used, as `{"tool", "reason"}`.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, related_name="+")
    name = models.CharField(max_length=64)
    state = models.CharField(max_length=12)
    reason = models.TextField(blank=True, default="")
    protocol = models.CharField(max_length=20, blank=True, default="")
    tools = models.PositiveIntegerField(default=0)
    left_out = models.JSONField(default=list)
    changed_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(name="mcp_state_of_tenant", fields=["tenant", "name"]),
            models.UniqueConstraint(name="mcp_state_of_operator", fields=["name"], condition=Q(tenant__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.name
