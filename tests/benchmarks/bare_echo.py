"""The reference for RPC: an echo server of `websockets` alone; it answers /healthz, too."""

from __future__ import annotations

import asyncio
import http
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def healthz(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(http.HTTPStatus.OK, "ok") if request.path == "/healthz" else None


async def main() -> None:
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), process_request=healthz, compression=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main())
