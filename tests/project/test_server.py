"""How the server stops, and how it takes its ports."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import pytest

from gateway_project.process.server import GatewayServer, PortTaken, bind_sockets, server_config


class RecordingGateway:
    """Notes what it is asked for; `drain` waits until the test lets it end."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.draining = asyncio.Event()
        self.drained = asyncio.Event()

    async def drain(self) -> None:
        self.calls.append("drain")
        self.draining.set()
        await self.drained.wait()
        self.calls.append("drained")


async def application(scope: Any, receive: Any, send: Any) -> None:
    """A lifespan that notes its end in the gateway; anything else is answered 200."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        application.calls.append("stopped")  # type: ignore[attr-defined]
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})


class Running:
    """A server on a free port of this process."""

    def __init__(self) -> None:
        self.gateway = RecordingGateway()
        application.calls = self.gateway.calls  # type: ignore[attr-defined]
        self.ready = asyncio.Event()
        self.sockets = bind_sockets("127.0.0.1", [0])
        self.port = self.sockets[0].getsockname()[1]
        self.server = GatewayServer(server_config(application), gateway=self.gateway, on_ready=self.ready.set)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.server.serve(self.sockets))

    async def answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
        writer.close()
        return b"200" in line


@pytest.fixture
async def running_server() -> Any:
    server = Running()
    await asyncio.wait_for(server.ready.wait(), 30)
    yield server
    server.server.force_exit = True
    server.gateway.drained.set()
    await asyncio.wait_for(server.task, 30)


async def test_the_first_signal_drains_before_anything_is_closed(running_server: Running) -> None:
    assert await running_server.answers()
    running_server.server.handle_exit(signal.SIGTERM, None)
    await asyncio.wait_for(running_server.gateway.draining.wait(), 30)
    assert not await running_server.answers()
    assert running_server.gateway.calls == ["drain"]
    running_server.gateway.drained.set()
    await asyncio.wait_for(running_server.task, 30)
    assert running_server.gateway.calls == ["drain", "drained", "stopped"]


async def test_a_second_signal_waits_for_nothing(running_server: Running) -> None:
    running_server.server.handle_exit(signal.SIGINT, None)
    await asyncio.wait_for(running_server.gateway.draining.wait(), 30)
    running_server.server.handle_exit(signal.SIGINT, None)
    await asyncio.wait_for(running_server.task, 30)
    assert running_server.gateway.calls == ["drain"]


async def test_a_drain_that_fails_does_not_keep_the_server(running_server: Running) -> None:
    async def fail() -> None:
        raise RuntimeError("a part broke")

    running_server.gateway.drain = fail  # type: ignore[method-assign]
    running_server.server.handle_exit(signal.SIGTERM, None)
    await asyncio.wait_for(running_server.task, 30)
    assert running_server.gateway.calls == ["stopped"]


def test_a_taken_port_is_refused_and_leaves_no_other_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            bind_sockets("127.0.0.1", [0, port])


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux cuts connections that nobody reads")
@pytest.mark.parametrize(("slow", "cut"), [(1.0, 60), (100.0, 200), (1e9, 86_400)])
def test_a_connection_that_nobody_reads_is_cut_after_the_slowest_follower_was_ended(
    settings: Any, slow: float, cut: int
) -> None:
    settings.GATEWAY_SLOW_FOLLOWER_SECONDS = slow
    (listener,) = bind_sockets("127.0.0.1", [0])
    listener.setblocking(True)
    with listener, socket.create_connection(listener.getsockname()), listener.accept()[0] as taken:
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == cut * 1000


def test_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(PortTaken, match="GATEWAY_HOST"):
        bind_sockets("no.such.host.invalid", [0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("access_log", False), ("ws_per_message_deflate", False), ("log_config", None), ("timeout_keep_alive", 75)],
)
def test_uvicorn_runs_without_what_leaks_or_costs(name: str, value: object) -> None:
    assert getattr(server_config(application), name) is value
