"""The table of paths: the face of a path, and how the gate treats the path."""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponse
from django.urls import include
from django.urls import path as url_path

from edge_app.face import Face, Route
from edge_app.gate import PathTable
from edge_app.http.asgi import Receive, Scope, Send


async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for any application."""


async def credential_check(scope: Scope) -> None:
    """Stands for the check of a credential in a path."""


def view(request: HttpRequest) -> HttpResponse:
    """Stands for any view."""
    raise AssertionError


def other_view(request: HttpRequest) -> HttpResponse:
    """Stands for a second view."""
    raise AssertionError


FIRST = Face(
    name="first",
    consumers=(
        Route(path="v1/<str:thing_id>/events", application=endpoint),
        Route(path="v1/<str:thing_id>/ws", application=endpoint, protocol="websocket"),
    ),
    urls=(url_path("v1/", include([url_path("<str:thing_id>/things", view)])),),
    open_paths=("/pages",),
    own_credential_paths={"/callbacks/": credential_check},
)
SECOND = Face(
    name="second",
    consumers=(
        Route(path=re.compile(r"v2/.+\Z"), application=endpoint, counted=False, frequent=("/v2/often",)),
        Route(path="rpc", application=endpoint, protocol="websocket", key="none"),
    ),
    urls=(url_path("tasks", other_view),),
    optional_key_paths=("/status",),
    is_dialect_path=lambda path: path.startswith("/vendor"),
)
PATHS = PathTable([FIRST, SECOND])


def face_of(path: str) -> tuple[str, bool]:
    match = PATHS.find(path)
    return match.face.name, match.known


def test_every_path_has_the_face_that_brought_it() -> None:
    for path in ("/v1/a/events", "/v1/a/ws", "/v1/a/things", "/pages", "/pages/x.css", "/callbacks/secret"):
        assert face_of(path) == ("first", True), path
    for path in ("/v2/often", "/v2/seldom/x", "/rpc", "/tasks", "/status"):
        assert face_of(path) == ("second", True), path


def test_unknown_paths_are_the_first_faces_but_for_those_in_the_dialect_of_another() -> None:
    for path in ("/", "/v1/a/events/x", "/v1/a", "/xv2/often", "/pagesx", "/rpc/x", "/callbacks", "//tasks", ""):
        assert face_of(path) == ("first", False), path
    assert face_of("/vendor/files") == ("second", False)


def test_routes_in_front_of_django_stream_and_sockets_and_django_do_not() -> None:
    streams = {path: PATHS.find(path).streams for path in ("/v1/a/events", "/v2/x", "/v1/a/ws", "/tasks", "/pages/")}
    assert streams == {"/v1/a/events": True, "/v2/x": True, "/v1/a/ws": False, "/tasks": False, "/pages/": False}


def test_what_the_gate_asks_for_is_the_routes_or_the_faces() -> None:
    assert [PATHS.find(path).key for path in ("/v1/a/things", "/rpc", "/pages/x", "/callbacks/x", "/status")] == [
        "required",
        "none",
        "none",
        "none",
        "optional",
    ]
    assert [PATHS.find(path).counted for path in ("/v2/often", "/v2/seldom", "/tasks")] == [False, False, True]


def test_a_frequent_path_is_treated_as_its_route_is() -> None:
    often, seldom = PATHS.find("/v2/often"), PATHS.find("/v2/seldom")
    assert often is seldom
