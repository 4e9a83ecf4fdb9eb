"""Finds the face of a path, and what the gate has to know of the path: asked once for every request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import Resolver404, URLPattern, URLResolver
from django.urls.resolvers import RegexPattern

from edge_app.face import CredentialCheck, Face, KeyUse, Route


@dataclass(frozen=True, slots=True, eq=False)
class PathMatch:
    """A path's face, and how the gate treats the path. One object per route, not per request."""

    face: Face
    known: bool = True
    key: KeyUse = "required"
    counted: bool = True
    probe: bool = False
    streams: bool = False
    """True for HTTP routes in front of Django, which read their bodies themselves."""

    credential_check: CredentialCheck | None = None


class _Routes:
    """The routes of one protocol."""

    def __init__(self) -> None:
        self.exact: dict[str, PathMatch] = {}
        self._patterns: list[tuple[Callable[[str], Any], PathMatch]] = []

    def add(self, route: Route, match: PathMatch) -> None:
        """Adds a route behind those that are there."""
        for path in exact_paths(route):
            self.exact.setdefault(path, match)
        # Django's pattern for an expression has groups to look at, which costs more than the expression itself.
        matches = route.pattern().pattern.match if isinstance(route.path, str) else route.path.match
        self._patterns.append((matches, match))

    def match(self, path: str) -> PathMatch | None:
        """Returns the first route whose pattern takes the path."""
        bare = path.removeprefix("/")
        return next((match for matches, match in self._patterns if matches(bare) is not None), None)


class PathTable:
    """The paths of several faces. Of two faces that have the same path the first gets it; the first face also answers
    for paths that nobody has. A path may be a socket's and something else over HTTP, such as `/`."""

    def __init__(self, faces: Sequence[Face]) -> None:
        self._http = _Routes()
        self._sockets = _Routes()
        self._open: dict[str, PathMatch] = {}
        self._views: dict[Callable[..., Any], PathMatch] = {}
        self._unknown = [(face.is_dialect_path, PathMatch(face, known=False)) for face in faces]
        for face in faces:
            self._add(face)
        self._open_folders = tuple(path if path.endswith("/") else f"{path}/" for path in self._open)
        self._django = URLResolver(RegexPattern(r"^/"), [pattern for face in faces for pattern in face.urls])

    def find(self, path: str, *, socket: bool = False) -> PathMatch:
        """Returns what is known of a path, of an unknown one too; `socket`: for an upgrade to a WebSocket."""
        first, second = (self._sockets, self._http) if socket else (self._http, self._sockets)
        match = first.exact.get(path) or first.match(path)
        if match is not None:
            return match
        if (known := self._find_page(path)) is not None:
            return known
        if (match := second.exact.get(path) or second.match(path)) is not None:
            return match
        return next((match for in_dialect, match in self._unknown if in_dialect(path)), self._unknown[0][1])

    def _find_page(self, path: str) -> PathMatch | None:
        if path in self._open or path.startswith(self._open_folders):
            return self._open_match(path)
        try:
            return self._views[self._django.resolve(path).func]
        except Resolver404:
            return None

    def _add(self, face: Face) -> None:
        for route in face.consumers:
            match = PathMatch(
                face, key=route.key, counted=route.counted, probe=route.probe, streams=route.protocol == "http"
            )
            (self._http if route.protocol == "http" else self._sockets).add(route, match)
        without_key = PathMatch(face, key="none")
        for path in face.open_paths:
            self._open.setdefault(path, without_key)
        for path, check in face.own_credential_paths.items():
            self._open.setdefault(path, PathMatch(face, key="none", credential_check=check))
        for path in face.optional_key_paths:
            self._open.setdefault(path, PathMatch(face, key="optional"))
        with_key = PathMatch(face)
        for pattern in flatten(face.urls):
            self._views.setdefault(pattern.callback, with_key)

    def _open_match(self, path: str) -> PathMatch:
        if (match := self._open.get(path)) is not None:
            return match
        folders = zip(self._open_folders, self._open.values(), strict=True)
        return next(match for folder, match in folders if path.startswith(folder))


def exact_paths(route: Route) -> Iterator[str]:
    """Yields the paths of a route that are found without matching: frequent ones, and a path without parameters."""
    yield from route.frequent
    if isinstance(route.path, str) and "<" not in route.path:
        yield f"/{route.path}"


def flatten(urls: Sequence[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    """Yields the patterns of included URLs in place of the includes."""
    for pattern in urls:
        if isinstance(pattern, URLResolver):
            yield from flatten(pattern.url_patterns)
        else:
            yield pattern
