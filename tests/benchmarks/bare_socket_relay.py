"""The reference for the IDE's socket: it sends each prompt to the runtime, and each event of the answer to the socket.

Nothing is parsed, stored or checked. It answers /healthz, too.
"""

from __future__ import annotations

import asyncio
import http
import sys

import aiohttp
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


def healthz(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(http.HTTPStatus.OK, "ok") if request.path == "/healthz" else None


async def main(port: int, runtime_url: str) -> None:
    address = f"{runtime_url}/agent/message/stream"
    async with aiohttp.ClientSession() as session:

        async def relay(connection: ServerConnection) -> None:
            async for message in connection:
                async with session.post(address, data=message) as answer:
                    async for line in answer.content:
                        if line.startswith(b"data: "):
                            await connection.send(line[6:].rstrip(), text=True)

        async with serve(relay, "127.0.0.1", port, process_request=healthz, compression=None):
            await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
