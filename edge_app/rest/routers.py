"""The router of REST faces: DRF's, with paths as this gateway writes them."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter


class GatewayRouter(SimpleRouter):
    """Routes viewsets without trailing slashes and without format suffixes, as `path()` patterns.

    A prefix may contain parameters: `v1/sessions/<str:session_id>/runs` nests a viewset below another one's object.
    """

    routes = [
        route._replace(initkwargs={"suffix": "Detail"}) if route.name == "{basename}-detail" else route
        for route in SimpleRouter.routes
    ]

    def __init__(self) -> None:
        super().__init__(trailing_slash=False, use_regex_path=False)
