"""Types of ASGI 3, and the two things that every ASGI application here needs: a header, and the client's absence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from core_app.header_pairs import HeaderPairs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = HeaderPairs


CLIENT_KNOWN = "gateway.client_known"
"""Extension of the ASGI scope: called without arguments when a request's credential was good. The server then keeps the
connection between two requests, however many its address has."""


def tell_client_known(scope: Scope) -> None:
    """Tells the server that the request's credential was good; servers without the extension need not know."""
    tell = (scope.get("extensions") or {}).get(CLIENT_KNOWN)
    if tell is not None:
        tell()


class ClientGone(Exception):
    """The client went away before its request was complete, or before it had its response."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """Returns the first header of that name, in lower case as ASGI's names are."""
    for key, value in scope.get("headers", ()):
        if key == name:
            assert isinstance(value, bytes)
            return value
    return None
