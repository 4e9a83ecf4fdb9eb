"""The AgentMesh face as one value."""

from __future__ import annotations

import re

from edge_app.face import DjangoWrapper, Face, Route, default_body_limit
from faces.mesh.artifacts import MAX_BYTES
from faces.mesh.endpoints import BROADCAST, HEALTH, WS_INFO_PAGE
from faces.mesh.errors import mesh_error_body
from faces.mesh.follow import FOLLOWING, TOKEN_PRINCIPAL, LiveEvents
from faces.mesh.semantic import SemanticSearch
from faces.mesh.urls import URLS

_ARTIFACT = re.compile(r"(?:/v1)?/spaces/[^/]+/artifacts/[^/]+\Z")


def _body_limit(path: str) -> int:
    return MAX_BYTES if _ARTIFACT.match(path) else default_body_limit(path)


def _routes(prefix: str) -> list[Route]:
    return [
        Route(path=f"{prefix}events", application=LiveEvents.as_asgi()),
        Route(path=f"{prefix}broadcast", application=BROADCAST),
        Route(path=f"{prefix}ws-info", application=WS_INFO_PAGE, key="none"),
        Route(path=f"{prefix}health", application=HEALTH, key="optional", probe=True),
    ]


FACE = Face(
    name="mesh",
    consumers=(*_routes(""), *_routes("v1/")),
    wrappers=tuple(
        DjangoWrapper(path=f"{prefix}spaces/<str:space_id>/search", wrap=SemanticSearch) for prefix in ("", "v1/")
    ),
    urls=URLS,
    error_body=mesh_error_body,
    body_limit=_body_limit,
    token_principal=TOKEN_PRINCIPAL,
    browser_sessions=True,
    parts=(FOLLOWING,),
    openapi="faces.mesh.openapi.DOCUMENT",
)
