"""Django's ASGI handler with one thread per request: middleware and view run in one thread of a lasting pool.

Django's own handler makes a thread per request and crosses between it and the loop for every middleware; a new thread
is a new SQLite connection, too. Here a request crosses once. It is not cancelled when its client goes: it ends what it
began.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import IO, Any

import django
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.signals import request_started
from django.db import close_old_connections
from django.http import HttpResponseBase
from django.urls import set_script_prefix

from core_app.database import pool


class ThreadedHandler(ASGIHandler):
    """Django's ASGI application with a synchronous middleware chain."""

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        loop, threads = asyncio.get_running_loop(), pool("gateway-request", settings.GATEWAY_REQUEST_THREADS)
        with body:
            work = partial(copy_context().run, self._respond, scope, body)
            response: HttpResponseBase = await loop.run_in_executor(threads, work)
            if (release := scope.get("gateway.release")) is not None:
                # Its thread is free already: a client that reads no response must not keep its slot at the gate.
                release()
            try:
                await self.send_response(response, send)
            finally:
                if response.streaming:
                    await loop.run_in_executor(threads, response.close)

    def _respond(self, scope: Any, body: IO[bytes]) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=type(self), scope=scope)
        try:
            request, refusal = self.create_request(scope, body)
            response: HttpResponseBase = refusal if request is None else self.get_response(request)  # type: ignore[assignment]
            if response.streaming:
                response.block_size = self.chunk_size  # type: ignore[attr-defined]
            else:
                response.close()
            return response
        finally:
            close_old_connections()


def django_build() -> ThreadedHandler:
    """Sets Django up and returns the application that serves it."""
    django.setup(set_prefix=False)
    return ThreadedHandler()
