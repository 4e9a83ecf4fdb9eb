"""Tables of the agent directory: agents that were registered at runtime, and the live state of all agents.

Agents of the configuration file have no row in `Agent`; their state is kept like that of all others.
"""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from core_app import clock
from tenants_app.models import Tenant

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
AGENT_ID = RegexValidator(
    rf"\A{ID_PATTERN}\Z", "An id has 1 to 64 letters, digits, '_', '.' and '-', and begins with a letter or digit."
)


class Agent(models.Model):
    """An agent of one tenant, or of all tenants where `tenant` is null.

    `entry` has the fields that only some types have, such as `command`. A `trusted` agent was registered by the
    operator: it may be a program, and its endpoint may be private.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, blank=True, related_name="+")
    public_id = models.CharField("id", max_length=64, validators=[AGENT_ID])
    name = models.CharField(max_length=200, blank=True, default="")
    type = models.CharField(max_length=32)
    capabilities = models.JSONField(default=list, blank=True)
    endpoint = models.CharField(max_length=2000, blank=True, default="")
    model = models.CharField(max_length=200, blank=True, default="")
    system_prompt = models.TextField(blank=True, default="")
    tools = models.JSONField(default=list, blank=True)
    timeout = models.FloatField(null=True, blank=True)
    entry = models.JSONField(default=dict, blank=True)
    trusted = models.BooleanField(default=False, editable=False)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("public_id",)
        constraints = [
            models.UniqueConstraint(name="agent_of_tenant", fields=["tenant", "public_id"]),
            models.UniqueConstraint(name="agent_of_all", fields=["public_id"], condition=Q(tenant__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.public_id


class AgentState(models.Model):
    """The live state of an agent: the last check, the last heartbeat and its load.

    `result` is what the last check found: `ok`, `failed`, or `refused` for an address that may not be called; empty
    without a check. `reported` is the status of the last heartbeat, and `announced` the one that listeners know.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, related_name="+")
    agent_id = models.CharField(max_length=64)
    result = models.CharField(max_length=10, default="")
    checked_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(default=clock.now)
    heartbeat_at = models.DateTimeField(null=True)
    reported = models.CharField(max_length=10, default="")
    running = models.PositiveIntegerField(default=0)
    announced = models.CharField(max_length=10, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="agent_state_of_tenant", fields=["tenant", "agent_id"]),
            models.UniqueConstraint(name="agent_state_of_all", fields=["agent_id"], condition=Q(tenant__isnull=True)),
        ]
        indexes = [models.Index(name="agent_state_due", fields=["due_at"])]

    def __str__(self) -> str:
        return self.agent_id
