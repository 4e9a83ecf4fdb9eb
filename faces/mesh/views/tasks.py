"""/tasks and /pipeline."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import BadRequest
from edge_app.rest.fields import JSONObject, StrictBoolean, StrictPattern, StrictString
from edge_app.rest.paging import cursor_of, limit_of
from edge_app.rest.viewsets import idempotent
from faces.mesh.models import Task, TaskStatus
from faces.mesh.task_stop import task_cancel
from faces.mesh.tasks import DEFAULT_TIMEOUT_SECONDS, PipelineStep, TaskRequest, pipeline_submit, task_get, task_submit
from faces.mesh.views.base import MeshViewSet, page_link
from faces.mesh.wire import task_summary, task_to_wire
from tenants_app.principal import TASKS, TASKS_READ

ID = r"(?!\.\.?$)[A-Za-z0-9._:-]{1,128}"
"""Without `.` and `..`, which clients take out of a task's path."""

MAX_TEXT = 500_000
MAX_STEPS = 50
MAX_TIMEOUT_SECONDS = 86_400.0
MAX_CONTEXT_BYTES = 512 * 1024


class StrictNumber(serializers.FloatField):
    """A JSON number."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class TaskContextSerializer(serializers.Serializer[Any]):
    """`payload.context` of a task."""

    shared_space_id = StrictString(
        required=False,
        allow_null=True,
        max_length=64,
        help_text="The space that the task reads, and to which its result is added.",
    )
    history = serializers.ListField(
        child=JSONObject(max_bytes=MAX_CONTEXT_BYTES),
        required=False,
        max_length=500,
        help_text="Earlier messages that the agent is told, oldest first.",
    )
    artifacts = serializers.ListField(
        child=serializers.JSONField(allow_null=True),
        required=False,
        max_length=100,
        help_text="Texts or other JSON that the agent is given with the task.",
    )


class TaskOptionsSerializer(serializers.Serializer[Any]):
    """`payload.options` of a task."""

    stream = StrictBoolean(required=False, help_text="Whether live events have the task's text while it is written.")
    timeout = StrictNumber(
        required=False,
        min_value=0.001,
        max_value=MAX_TIMEOUT_SECONDS,
        help_text="The time after which the task fails, in seconds.",
    )
    capabilities = serializers.ListField(
        child=StrictString(max_length=64),
        required=False,
        max_length=32,
        help_text="What the agent has to be able to do.",
    )


class TaskPayloadSerializer(serializers.Serializer[Any]):
    """`payload` of a task."""

    task = StrictString(max_length=MAX_TEXT, help_text="The text of the task.")
    context = TaskContextSerializer(
        required=False, allow_null=True, help_text="What the agent is told beside the text."
    )  # type: ignore[assignment]  # DRF collects fields
    files = serializers.ListField(
        child=StrictString(max_length=128),
        required=False,
        allow_null=True,
        max_length=32,
        help_text="Names of artifacts of the space whose content the agent is given.",
    )
    options = TaskOptionsSerializer(required=False, allow_null=True, help_text="How the task is executed.")


class TaskBodySerializer(serializers.Serializer[Any]):
    """POST /tasks: an AgentMessage of type `request`."""

    id = StrictPattern(
        ID,
        required=False,
        allow_null=True,
        help_text="An id of the client's choice, unique in the tenant; by default the gateway makes one.",
    )
    type = serializers.ChoiceField(
        choices=["request"], required=False, help_text="The kind of AgentMessage, always `request`."
    )
    source = StrictString(  # type: ignore[assignment]  # DRF collects fields, its attribute stays
        required=False, allow_null=True, allow_blank=True, max_length=200, help_text="The sender of the task."
    )
    target = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=64,
        help_text="The agent's id; without it the routing rules decide.",
    )
    correlation_id = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=200,
        help_text="The id of the message that this one belongs to.",
    )
    timestamp = StrictNumber(
        required=False, allow_null=True, help_text="The client's own time, in milliseconds since the epoch."
    )
    payload = TaskPayloadSerializer(help_text="The task itself.")


class StepSerializer(serializers.Serializer[Any]):
    """A step of a pipeline."""

    agentId = StrictString(max_length=64, help_text="The agent that executes the step.")
    prompt = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=MAX_TEXT,
        help_text="Instructions that precede the result of the step before.",
    )


class PipelineBodySerializer(serializers.Serializer[Any]):
    """POST /pipeline."""

    steps = serializers.ListField(
        child=StepSerializer(), min_length=1, max_length=MAX_STEPS, help_text="The steps, one after the other."
    )
    input = StrictString(max_length=MAX_TEXT, help_text="The text that the first step gets.")
    options = TaskOptionsSerializer(required=False, allow_null=True, help_text="How every step is executed.")


class TaskViewSet(MeshViewSet):
    """Tasks of the tenant."""

    scope = TASKS
    scopes = dict.fromkeys(("list", "retrieve"), TASKS_READ)
    lookup_url_kwarg = "task_id"

    def list(self, request: Request) -> Response:
        """Returns tasks, the newest first; the next page is in `Link`."""
        rows = Task.objects.filter(_filters(request), tenant_id=self.principal.tenant_id)
        if (cursor := cursor_of(request)) is not None:
            rows = rows.filter(pk__lt=cursor)
        limit = limit_of(request)
        found = list(rows.defer("body", "prompt", "result").order_by("-id")[: limit + 1])
        following = found[limit - 1].pk if len(found) > limit else None
        return page_link(request, Response([task_summary(task) for task in found[:limit]]), following)

    @idempotent
    def create(self, request: Request) -> Response:
        """Submits a task. It is committed when this answers."""
        body = self.parse_body(TaskBodySerializer).validated_data
        with self.work_transaction():
            task = task_submit(principal=self.principal, request=task_request(body))
            shown = {"task_id": task.public_id, "status": "pending", "message": "Task submitted successfully"}
            headers = self.location(f"/tasks/{task.public_id}")
            return self.store_response(Response(shown, status=202, headers=headers))

    def retrieve(self, request: Request, task_id: str) -> Response:
        """Returns a task."""
        return Response(task_to_wire(task_get(self.principal, task_id)))

    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, task_id: str) -> Response:
        """Cancels a task; what runs for it is stopped."""
        task = task_cancel(principal=self.principal, public_id=task_id)
        return Response({"task_id": task.public_id, "status": task.status})


class PipelineViewSet(MeshViewSet):
    """Pipelines: tasks one after the other."""

    scope = TASKS

    @idempotent
    def create(self, request: Request) -> Response:
        """Submits a pipeline: a task per step."""
        body = self.parse_body(PipelineBodySerializer).validated_data
        steps = [PipelineStep(step["agentId"], step.get("prompt") or "") for step in body["steps"]]
        shared = TaskRequest(text="", body=body, **_options(body.get("options") or {}))
        with self.work_transaction():
            pipeline_id, tasks = pipeline_submit(
                principal=self.principal, steps=steps, text=body["input"], request=shared
            )
            shown = {"task_ids": [task.public_id for task in tasks], "pipeline_id": pipeline_id}
            return self.store_response(Response(shown, status=202))


def task_request(body: dict[str, Any]) -> TaskRequest:
    """Returns the request that a validated AgentMessage is."""
    payload = body["payload"]
    context = payload.get("context") or {}
    if not payload["task"].strip():
        raise BadRequest("'payload.task' may not be empty.", field="payload.task")
    return TaskRequest(
        text=payload["task"],
        task_id=body.get("id"),
        target=body.get("target") or None,
        space_id=context.get("shared_space_id"),
        history=context.get("history", ()),
        artifacts=context.get("artifacts", ()),
        files=payload.get("files") or (),
        body=body,
        **_options(payload.get("options") or {}),
    )


def _options(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "capabilities": options.get("capabilities", ()),
        "stream": options.get("stream", False),
        "timeout_seconds": options.get("timeout", DEFAULT_TIMEOUT_SECONDS),
    }


def _filters(request: Request) -> Q:
    filters = Q()
    if status := request.query_params.get("status"):
        if status not in TaskStatus.values:
            raise BadRequest(f"'status' is one of {', '.join(TaskStatus.values)}.", field="status")
        filters &= Q(status=status)
    if agent := request.query_params.get("agent"):
        filters &= Q(agents__contains=f'"{agent}"')
    return filters
