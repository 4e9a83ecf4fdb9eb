"""/agents: the tenant's agents, and those of the operator."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.directory import (
    REPORTED,
    agent_find,
    agent_heartbeat,
    agent_register,
    agent_unregister,
    agent_update,
    agents_visible,
)
from edge_app.rest.fields import JSONObject, StrictBoolean, StrictChoice, StrictInteger, StrictString
from edge_app.rest.viewsets import idempotent
from faces.mesh.agents import agent_details, agent_errors, agent_to_wire
from faces.mesh.views.base import MeshViewSet
from faces.mesh.views.tasks import StrictNumber
from tenants_app.principal import AGENTS_READ, AGENTS_WRITE

MAX_PROMPT = 100_000


class AgentFieldsSerializer(serializers.Serializer[Any]):
    """Fields of registration and change. The directory checks the bounds, and who may register programs."""

    name = StrictString(
        required=False, allow_blank=True, max_length=200, help_text="The agent's name for people; its id by default."
    )
    capabilities = serializers.ListField(
        child=StrictString(max_length=100),
        required=False,
        max_length=64,
        help_text="What the agent can do, in words that routing rules and tasks name.",
    )
    endpoint = StrictString(
        required=False, allow_null=True, allow_blank=True, max_length=2000, help_text="The address of a remote agent."
    )
    model = StrictString(
        required=False, allow_null=True, max_length=200, help_text="The model of an agent of type `model`."
    )
    system_prompt = StrictString(
        required=False,
        allow_blank=True,
        max_length=MAX_PROMPT,
        help_text="Instructions for the model, sent before every task.",
    )
    tools = serializers.ListField(
        child=StrictString(max_length=64),
        required=False,
        max_length=128,
        help_text="The built-in tools that the agent may use.",
    )
    timeout = StrictNumber(
        required=False, allow_null=True, help_text="The time that the agent may take to respond, in seconds."
    )
    command = serializers.JSONField(
        required=False,
        allow_null=True,
        help_text="The program of an agent that is one, as a path or as a list with its arguments.",
    )
    args = serializers.ListField(
        child=StrictString(max_length=4096, allow_blank=True),
        required=False,
        max_length=256,
        help_text="Arguments of the program.",
    )
    env = JSONObject(required=False, help_text="Environment variables of the program.")
    pass_env = serializers.ListField(
        child=StrictString(max_length=200),
        required=False,
        max_length=64,
        help_text="Names of the gateway's own environment variables that the program gets.",
    )
    memory_bytes = StrictInteger(
        required=False, allow_null=True, help_text="The memory that a process of the program may use, in bytes."
    )
    max_running = StrictInteger(
        required=False, allow_null=True, help_text="How many processes of the program may run at once."
    )


class AgentBodySerializer(AgentFieldsSerializer):
    """POST /agents."""

    id = StrictString(max_length=64, help_text="The agent's id, by which tasks and sessions name it.")
    type = StrictString(max_length=32, help_text="The engine: `model`, or another one of docs/agents.md.")


class AgentChangeSerializer(AgentFieldsSerializer):
    """PATCH /agents/:id."""

    type = StrictString(
        required=False, max_length=32, help_text="The engine: `model`, or another one of docs/agents.md."
    )
    enabled = StrictBoolean(required=False, help_text="Whether tasks and sessions may use the agent.")


class HeartbeatSerializer(serializers.Serializer[Any]):
    """POST /agents/:id/heartbeat."""

    status = StrictChoice(
        REPORTED, required=False, allow_null=True, help_text="What the agent says of itself; `online` by default."
    )


class AgentViewSet(MeshViewSet):
    """Agents that the tenant can use."""

    scope = AGENTS_WRITE
    scopes = {"list": AGENTS_READ, "retrieve": AGENTS_READ}
    lookup_url_kwarg = "agent_id"

    def list(self, request: Request) -> Response:
        """Returns the agents by id."""
        return Response([agent_to_wire(agent) for agent in agents_visible(self.principal)])

    @idempotent
    def create(self, request: Request) -> Response:
        """Registers an agent, in place of the tenant's agent that had the id."""
        body = self.parse_body(AgentBodySerializer).validated_data
        with self.work_transaction():
            agent = agent_register(self.principal, **body)
            headers = self.location(f"/agents/{agent.id}")
            return self.store_response(Response({"id": agent.id, "status": "registered"}, status=201, headers=headers))

    def retrieve(self, request: Request, agent_id: str) -> Response:
        """Returns an agent."""
        with agent_errors():
            return Response(agent_details(agent_find(self.principal, agent_id)))

    def partial_update(self, request: Request, agent_id: str) -> Response:
        """Changes an agent of the tenant."""
        body = self.parse_body(AgentChangeSerializer).validated_data
        with agent_errors():
            return Response(agent_details(agent_update(self.principal, agent_id, **body)))

    def destroy(self, request: Request, agent_id: str) -> Response:
        """Removes an agent of the tenant. Its tasks and sessions stay."""
        with agent_errors():
            agent_unregister(self.principal, agent_id)
        return Response({"id": agent_id, "status": "unregistered"})

    @action(detail=True, methods=["post"])
    def heartbeat(self, request: Request, agent_id: str) -> Response:
        """Notes that an agent is alive, and what it says of itself."""
        body = self.parse_body(HeartbeatSerializer).validated_data
        with agent_errors():
            agent = agent_heartbeat(self.principal, agent_id, status=body.get("status"))
        return Response(agent_to_wire(agent))
