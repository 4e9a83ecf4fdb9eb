"""An issuer of a test: it signs tokens and serves its key set, or does to its callers what the test says."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER, AUDIENCE = "https://issuer.example", "gateway"


class KeyServer:
    """An issuer: it signs tokens and serves its key set, or whatever the test says instead."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.kid = "one"
        self.body: bytes | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.silent = False
        self.released = asyncio.Event()
        self.requests = 0
        self.escapes = 0
        self.url = ""

    @property
    def jwks(self) -> bytes:
        rsa_key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.rsa.public_key()))
        ec_key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.ec.public_key()))
        return json.dumps({"keys": [{**rsa_key, "kid": self.kid}, {**ec_key, "kid": "ec"}]}).encode()

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.silent:
            await self.released.wait()
        body = self.jwks if self.body is None else self.body
        return web.Response(status=self.status, body=body, headers=self.headers)

    def token(self, *, algorithm: str = "RS256", key: Any = None, kid: str | None = None, **claims: Any) -> str:
        whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 600, "scope": "api:read"} | claims
        signing = key or (self.ec if algorithm == "ES256" else self.rsa)
        named = kid or ("ec" if algorithm == "ES256" else self.kid)
        shown = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(shown, signing, algorithm=algorithm, headers={"kid": named})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[KeyServer]:
        """Serves until the block ends. Any path but `/jwks` is counted as an escape."""
        application = web.Application()
        application.router.add_get("/jwks", self.answer)
        application.router.add_get("/{path:.*}", self._escape)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
        try:
            yield self
        finally:
            self.released.set()
            await runner.cleanup()

    async def _escape(self, request: web.Request) -> web.Response:
        self.escapes += 1
        return web.Response(body=self.jwks)
