"""The scripted provider of tests/faces/inference, with TCP_NODELAY: Nagle costs 40 ms a response.

`python -m tests.contract.recording.provider` prints its port on the first line and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from tests.faces.inference.upstream import app


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off"))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
