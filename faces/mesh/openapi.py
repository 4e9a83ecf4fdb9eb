"""The AgentMesh face's share of the OpenAPI document. Every path is there twice, at the root and under `/v1`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from rest_framework.views import APIView

from edge_app.openapi import FaceDocument, Operation, Resolve, Schema, parameter
from edge_app.rest.paging import LIMIT_SCHEMA, MAX_LIMIT
from faces.mesh import schemas
from faces.mesh.models import TaskStatus
from faces.mesh.semantic import MAX_QUERY
from faces.mesh.urls import V1
from faces.mesh.views.agents import AgentBodySerializer, AgentChangeSerializer, AgentViewSet, HeartbeatSerializer
from faces.mesh.views.spaces import (
    SpaceBodySerializer,
    SpaceMessageBodySerializer,
    SpaceViewSet,
)
from faces.mesh.views.tasks import PipelineBodySerializer, PipelineViewSet, TaskBodySerializer, TaskViewSet
from faces.mesh.views.tokens import EventTokenViewSet

TASKS, SPACES, AGENTS, EVENTS = "Tasks", "Spaces", "Agents", "Live events"
_LIMIT = parameter(
    "limit",
    LIMIT_SCHEMA,
    f"At most {MAX_LIMIT}; larger values count as that.",
)
_CURSOR = parameter("cursor", {"type": "string", "pattern": "^[0-9]{0,18}$"}, "Where the page before ended.")
_STATUS = parameter(
    "status", {"type": "string", "enum": [*TaskStatus.values, ""]}, "Tasks in this status; all of them if empty."
)
_AGENT = parameter("agent", {"type": "string"}, "Tasks of this agent.")
_QUERY = parameter(
    "q", {"type": "string", "minLength": 1, "maxLength": MAX_QUERY}, "The words to look for.", required=True
)
_MODE = parameter("mode", {"type": "string", "enum": ["text", "semantic"]}, "By words (default), or by meaning.")


def _operation(name: str, tag: str, summary: str, status: int, shape: Schema | None, **more: Any) -> Operation:
    return Operation(id=name, tag=tag, summary=summary, responses={status: shape}, **more)


_OPERATIONS: dict[tuple[type[APIView], str], Operation] = {
    (TaskViewSet, "list"): _operation(
        "meshTasks",
        TASKS,
        "List tasks, the newest first; `Link` has the next page",
        200,
        schemas.array_of(schemas.TASK_SUMMARY),
        query=(_STATUS, _AGENT, _LIMIT, _CURSOR),
    ),
    (TaskViewSet, "create"): _operation(
        "meshSubmitTask",
        TASKS,
        "Submit a task",
        202,
        schemas.TASK_SUBMITTED,
        request=TaskBodySerializer,
        example={"payload": {"task": "Say hello to the new colleague."}, "target": "demo"},
        errors=(402, 404, 409, 422),
        located=True,
    ),
    (TaskViewSet, "retrieve"): _operation("meshTask", TASKS, "Get a task", 200, schemas.TASK),
    (TaskViewSet, "cancel"): _operation(
        "meshCancelTask", TASKS, "Cancel a task", 200, schemas.TASK_CANCELLED, errors=(409,)
    ),
    (PipelineViewSet, "create"): _operation(
        "meshPipeline",
        TASKS,
        "Submit a pipeline",
        202,
        schemas.PIPELINE,
        request=PipelineBodySerializer,
        example={
            "steps": [{"agentId": "demo"}, {"agentId": "demo", "prompt": "Say it shorter:"}],
            "input": "Say hello.",
        },
        errors=(402, 404, 409, 422),
    ),
    (SpaceViewSet, "create"): _operation(
        "meshCreateSpace",
        SPACES,
        "Create a space",
        201,
        schemas.SPACE_CREATED,
        request=SpaceBodySerializer,
        example={"metadata": {"project": "demo"}},
        errors=(402,),
        located=True,
    ),
    (SpaceViewSet, "list"): _operation(
        "meshSpaces", SPACES, "List spaces", 200, schemas.array_of(schemas.SPACE), query=(_LIMIT, _CURSOR)
    ),
    (SpaceViewSet, "retrieve"): _operation("meshSpace", SPACES, "Get a space", 200, schemas.SPACE),
    (SpaceViewSet, "messages"): _operation(
        "meshMessages", SPACES, "Get the newest messages", 200, schemas.MESSAGES, query=(_LIMIT, _CURSOR)
    ),
    (SpaceViewSet, "add_message"): _operation(
        "meshAddMessage",
        SPACES,
        "Add a message",
        201,
        schemas.MESSAGE,
        request=SpaceMessageBodySerializer,
        example={"role": "user", "content": "Hello, space"},
        errors=(402,),
    ),
    (SpaceViewSet, "artifacts"): _operation("meshArtifacts", SPACES, "List artifacts", 200, schemas.ARTIFACTS),
    (SpaceViewSet, "search"): _operation(
        "meshSearch",
        SPACES,
        "Search messages and artifacts",
        200,
        schemas.RESULTS,
        query=(_QUERY, _MODE, _LIMIT),
        errors=(402, 422, 502),
    ),
    (AgentViewSet, "list"): _operation("meshAgents", AGENTS, "List agents", 200, schemas.array_of(schemas.AGENT)),
    (AgentViewSet, "create"): _operation(
        "meshRegisterAgent",
        AGENTS,
        "Register an agent",
        201,
        schemas.AGENT_STATE,
        request=AgentBodySerializer,
        example={"id": "writer", "type": "model", "model": "demo:echo", "capabilities": ["writing"]},
        errors=(402, 409, 422),
        located=True,
    ),
    (AgentViewSet, "retrieve"): _operation("meshAgent", AGENTS, "Get an agent", 200, schemas.AGENT_DETAILS),
    (AgentViewSet, "partial_update"): _operation(
        "meshChangeAgent",
        AGENTS,
        "Change an agent",
        200,
        schemas.AGENT_DETAILS,
        request=AgentChangeSerializer,
        example={"name": "The writer"},
        errors=(409, 422),
    ),
    (AgentViewSet, "destroy"): _operation("meshRemoveAgent", AGENTS, "Remove an agent", 200, schemas.AGENT_STATE),
    (AgentViewSet, "heartbeat"): _operation(
        "meshHeartbeat",
        AGENTS,
        "Report that an agent is alive",
        200,
        schemas.AGENT,
        request=HeartbeatSerializer,
        example={"status": "busy"},
    ),
    (EventTokenViewSet, "create"): _operation(
        "meshEventToken", EVENTS, "Get a token for `EventSource`", 200, schemas.TOKEN
    ),
}


def _operations() -> Iterator[tuple[tuple[type[APIView], str], Operation]]:
    for (viewset, action), operation in _OPERATIONS.items():
        yield (viewset, action), operation
        yield (V1[viewset], action), replace(operation, id=f"{operation.id}V1")  # type: ignore[index]


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the paths that no view inspector describes: streams, raw bytes, endpoints on the loop."""
    return {**_paths("", ""), **_paths("/v1", "V1")}


def _paths(prefix: str, suffix: str) -> Mapping[str, Schema]:
    return {
        f"{prefix}/events": {"get": {**_EVENTS, "operationId": f"meshEvents{suffix}"}},
        f"{prefix}/broadcast": {"post": {**_BROADCAST, "operationId": f"meshBroadcast{suffix}"}},
        f"{prefix}/ws-info": {"get": _read(f"meshWsInfo{suffix}", "Get the addresses of live events", schemas.WS_INFO)},
        f"{prefix}/health": {"get": _read(f"meshHealth{suffix}", "Get the gateway's health", schemas.HEALTH)},
        f"{prefix}/spaces/{{space_id}}/artifacts/{{name}}": {
            "get": {
                **_artifact(f"meshGetArtifact{suffix}", "Get an artifact's bytes", {"200": _BYTES}),
                "x-scope": "tasks:read",
            },
            "put": _artifact(
                f"meshPutArtifact{suffix}",
                "Store an artifact",
                {"200": _json("The artifact.", schemas.ARTIFACT)},
                errors=(402,),
                requestBody={
                    "required": False,
                    "content": {"application/octet-stream": {"schema": {}, "example": "Hello"}},
                },
            ),
            "delete": _artifact(f"meshDeleteArtifact{suffix}", "Delete an artifact", {"204": {"description": "Gone."}}),
        },
    }


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _read(name: str, summary: str, schema: Schema) -> Schema:
    described: Schema = {"operationId": name, "tags": [EVENTS], "summary": summary, "x-open": True, "x-errors": [401]}
    return {**described, "responses": {"200": _json(summary, schema)}}


def _artifact(name: str, summary: str, responses: Schema, *, errors: tuple[int, ...] = (), **more: Any) -> Schema:
    parameters = [
        {"name": place, "in": "path", "required": True, "schema": schema, "description": description}
        for place, schema, description in (
            ("space_id", {"type": "string"}, "The space's id."),
            ("name", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}, "The artifact's name, not `.` or `..`."),
        )
    ]
    return {
        "operationId": name,
        "tags": [SPACES],
        "summary": summary,
        "parameters": parameters,
        "x-scope": "tasks",
        "x-errors": list(errors),
        "responses": responses,
        **more,
    }


_BYTES: Schema = {
    "description": "The bytes, with the media type that they were stored with.",
    "content": {"*/*": {"schema": {}}},
}
_BROADCAST: Schema = {
    "tags": [EVENTS],
    "summary": "Send an event to the tenant's followers",
    "x-scope": "tasks",
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": schemas.BROADCAST_BODY, "example": schemas.BROADCAST_EXAMPLE}},
    },
    "responses": {"200": _json("It is delivered.", schemas.BROADCAST)},
}
_EVENTS: Schema = {
    "tags": [EVENTS],
    "summary": "Follow the tenant's live events",
    "description": "Server-sent events without names; docs/protocol-agentmesh.md has their types.",
    "parameters": [
        {"name": "taskId", "in": "query", "schema": {"type": "string"}, "description": "Events of this task."},
        {"name": "spaceId", "in": "query", "schema": {"type": "string"}, "description": "Events of this space."},
        {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}, "description": "Go on after this id."},
    ],
    "x-scope": "tasks:read",
    "x-stream-token": True,
    "x-errors": [404],
    "responses": {
        "200": {
            "description": "The stream.",
            "content": {"text/event-stream": {"schema": {"description": "Events whose data is one JSON object each."}}},
        }
    },
}

DOCUMENT = FaceDocument(
    tags=(TASKS, SPACES, AGENTS, EVENTS),
    operations=dict(_operations()),
    paths=paths,
    error=schemas.ERROR_NAME,
    schemas=lambda: {schemas.ERROR_NAME: schemas.ERROR},
    path_parameters={
        "task_id": "The task's id.",
        "space_id": "The space's id, `space_id`.",
        "agent_id": "The agent's id.",
    },
)
