"""HTTP metrics by route, counted outside the gate, so that its refusals are counted too.

The label is the template of the path, never the path: ids in labels would grow the metrics without end.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from functools import lru_cache

from django.urls import URLPattern, URLResolver
from prometheus_client import Counter, Histogram

from core_app.metrics import HTTP_REQUESTS, HTTP_SECONDS
from edge_app.http.asgi import Application, Message, Receive, Scope, Send

OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


class RouteTemplates:
    """Finds the template of a path in a few dictionary look-ups: by the words between its parameters.

    A path in one of `folders` has its folder for a template.
    """

    def __init__(self, templates: Iterable[str], folders: Iterable[str] = ()) -> None:
        templates = list(templates)
        self._folders = frozenset(folders)
        self._fixed = {template: template for template in templates if "{" not in template}
        self._known: dict[tuple[str, ...], str] = {}
        self._holes: dict[int, dict[frozenset[int], None]] = {}
        for template in templates:
            words = template.split("/")
            holes = frozenset(index for index, word in enumerate(words) if word.startswith("{"))
            self._known[_with_holes(words, holes)] = template
            self._holes.setdefault(len(words), {})[holes] = None

    def find(self, path: str) -> str:
        """Returns the template, the folder of a page, or `other`."""
        if (template := self._fixed.get(path)) is not None:
            return template
        words = path.split("/")
        for holes in self._holes.get(len(words), ()):
            if (template := self._known.get(_with_holes(words, holes))) is not None:
                return template
        return f"/{words[1]}" if len(words) > 1 and words[1] in self._folders else OTHER


class RequestMetrics:
    """Wraps the application that serves everything, and counts its requests."""

    def __init__(self, application: Application, templates: RouteTemplates) -> None:
        self._application = application
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 0
        route = self._templates.find(scope["path"])

        # Not a coroutine of its own: a stream has thousands of messages.
        def note_status(message: Message) -> Awaitable[None]:
            nonlocal status
            if not status and (status := status_of(message)):
                _seconds_of(route).observe(time.perf_counter() - began)
            return send(message)

        try:
            await self._application(scope, receive, note_status)
        finally:
            method = scope.get("method", "WEBSOCKET")
            _requests_of(route, method if method in METHODS else OTHER, status).inc()


def templates_of(patterns: Sequence[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    """Yields the patterns' templates with `{name}` for parameters, those of included patterns too."""
    for pattern in patterns:
        route = prefix + _PARAMETER.sub(r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from templates_of(pattern.url_patterns, route)
        else:
            yield route


@lru_cache(maxsize=1024)
def _seconds_of(route: str) -> Histogram:
    return HTTP_SECONDS.labels(route)


@lru_cache(maxsize=4096)
def _requests_of(route: str, method: str, status: int) -> Counter:
    return HTTP_REQUESTS.labels(route, method, str(status or "none"))


def _with_holes(words: Sequence[str], holes: frozenset[int]) -> tuple[str, ...]:
    return tuple("{}" if index in holes else word for index, word in enumerate(words))


def status_of(message: Message) -> int:
    """Returns the status of a message that begins a response; 0 for every other message."""
    if message["type"] in ("http.response.start", "websocket.http.response.start"):
        return int(message["status"])
    return {"websocket.accept": 101, "websocket.close": 403}.get(message["type"], 0)
