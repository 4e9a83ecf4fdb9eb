"""The Django paths of the AgentMesh protocol, each at the root and under `/v1`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.urls import URLPattern, URLResolver, path

from edge_app.rest.routers import GatewayRouter
from faces.mesh.views.agents import AgentViewSet
from faces.mesh.views.base import MeshViewSet
from faces.mesh.views.spaces import ArtifactViewSet, SpaceViewSet
from faces.mesh.views.tasks import PipelineViewSet, TaskViewSet
from faces.mesh.views.tokens import EventTokenViewSet


class TaskV1ViewSet(TaskViewSet):
    """The same under `/v1`; a class of its own, because operations of the OpenAPI document belong to classes."""


class PipelineV1ViewSet(PipelineViewSet):
    """The same under `/v1`."""


class SpaceV1ViewSet(SpaceViewSet):
    """The same under `/v1`."""


class ArtifactV1ViewSet(ArtifactViewSet):
    """The same under `/v1`."""


class AgentV1ViewSet(AgentViewSet):
    """The same under `/v1`."""


class EventTokenV1ViewSet(EventTokenViewSet):
    """The same under `/v1`."""


V1: Mapping[type[MeshViewSet], type[MeshViewSet]] = {
    TaskViewSet: TaskV1ViewSet,
    PipelineViewSet: PipelineV1ViewSet,
    SpaceViewSet: SpaceV1ViewSet,
    ArtifactViewSet: ArtifactV1ViewSet,
    AgentViewSet: AgentV1ViewSet,
    EventTokenViewSet: EventTokenV1ViewSet,
}
"""The viewsets under `/v1` by those at the root."""

_ARTIFACT: dict[str, Any] = {"get": "retrieve", "put": "update", "delete": "destroy"}


def _urls(prefix: str, viewsets: Mapping[type[MeshViewSet], type[MeshViewSet]]) -> list[URLPattern | URLResolver]:
    router = GatewayRouter()
    name = f"mesh-{prefix.strip('/')}" if prefix else "mesh"
    router.register(f"{prefix}tasks", viewsets[TaskViewSet], f"{name}-task")
    router.register(f"{prefix}pipeline", viewsets[PipelineViewSet], f"{name}-pipeline")
    router.register(f"{prefix}spaces", viewsets[SpaceViewSet], f"{name}-space")
    router.register(f"{prefix}agents", viewsets[AgentViewSet], f"{name}-agent")
    router.register(f"{prefix}events/token", viewsets[EventTokenViewSet], f"{name}-event-token")
    artifact = viewsets[ArtifactViewSet].as_view(_ARTIFACT)
    return [
        *router.urls,
        path(f"{prefix}spaces/<str:space_id>/artifacts/<str:name>", artifact, name=f"{name}-artifact"),
    ]


URLS = [*_urls("", {viewset: viewset for viewset in V1}), *_urls("v1/", V1)]
