"""A real OpenID Connect provider in a process of its own, behind a front that may falsify what it says.

The front is the issuer. It passes everything on to `oidc-provider-mock`; `alter` changes the JSON of a response by its
path, and `forge` signs changed ID tokens with the front's key, which it adds to the provider's or keeps to itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from tests.stack.process import free_port

BOUND_SECONDS = 60
KEY_ID = "front"

Alter = Callable[[dict[str, Any]], dict[str, Any]]


class Front:
    """The front. `requests` has the paths and form fields of what it passed on."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.alter: dict[str, Alter] = {}
        self.requests: list[tuple[str, dict[str, list[str]]]] = []
        self._key = generate_private_key(65537, 2048)
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                front.serve(self)

            do_POST = do_PUT = do_GET

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Passes a request on, with its host, and alters the response."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        parts = urlsplit(handler.path)
        self.requests.append((parts.path, {**parse_qs(parts.query), **parse_qs(body.decode("latin-1"))}))
        names = ("Content-Type", "Authorization", "Host")
        headers = {name: handler.headers[name] for name in names if handler.headers.get(name)}
        response = httpx.request(handler.command, self.upstream + handler.path, content=body, headers=headers)
        content = response.content
        if (alter := self.alter.get(parts.path)) is not None:
            content = json.dumps(alter(response.json())).encode()
        handler.send_response(response.status_code)
        for name in ("Content-Type", "Location"):
            if name in response.headers:
                handler.send_header(name, response.headers[name])
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def person(self, subject: str, **claims: Any) -> None:
        """Sets the claims of a person."""
        answer = httpx.put(f"{self.issuer}/users/{subject}", json=claims)
        assert answer.status_code < 300, answer.text

    def forge(self, change: Callable[[dict[str, Any]], dict[str, Any]], *, known: bool = True) -> None:
        """Signs ID tokens with changed claims; `known`: with a key that the provider publishes."""

        def token(body: dict[str, Any]) -> dict[str, Any]:
            claims = jwt.decode(body["id_token"], options={"verify_signature": False, "verify_aud": False})
            return {**body, "id_token": self.signed(change(claims))}

        self.alter["/oauth2/token"] = token
        if known:
            own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
            self.alter["/jwks"] = lambda body: {"keys": [*body["keys"], {**own, "kid": KEY_ID, "use": "sig"}]}

    def signed(self, claims: dict[str, Any]) -> str:
        """Returns an ID token with these claims."""
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": KEY_ID})


@contextmanager
def provider_running(directory: Path) -> Iterator[Front]:
    """A provider and its front."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "oidc-provider-mock"), "--port", str(port)]
    with (directory / "provider.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        front = Front(f"http://127.0.0.1:{port}")
        thread = threading.Thread(target=front.server.serve_forever, daemon=True)
        thread.start()
        try:
            _await(f"{front.upstream}/.well-known/openid-configuration")
            yield front
        finally:
            front.server.shutdown()
            front.server.server_close()
            thread.join(BOUND_SECONDS)
            process.terminate()
            process.wait(BOUND_SECONDS)


def _await(address: str) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while True:
        try:
            if httpx.get(address).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"nothing answers at {address}"
