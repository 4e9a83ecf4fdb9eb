"""Connections: their use by many requests at once, their end, uploads, TLS and proxies."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohappyeyeballs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core_app.http1 import (
    Client,
    ConnectFailed,
    ConnectTimedOut,
    Disconnected,
    HttpClientError,
    NameNotResolved,
    Target,
    TlsFailed,
)
from core_app.http1.client import KEEPALIVE_SECONDS, MAX_IDLE
from core_app.http1.target import header_line
from tests.core.http1.asking import ask, target, turns_until
from tests.core.http1.raw_server import OK, Peer, always, once, once_open, raw_server

LARGE = bytes(range(256)) * 32 * 1024
"""A body of 8 MiB."""


async def echo(peer: Peer) -> None:
    """Answers with the request's body, in two pieces."""
    while True:
        _, body = await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        await peer.send(body)


async def test_many_requests_at_once_each_get_their_own_response(client: Client) -> None:
    async with raw_server(echo) as server:

        async def worker(number: int) -> None:
            for turn in range(40):
                body = b"%d of %d" % (turn, number)
                assert (await ask(client, server.url, body)).body == body

        await asyncio.gather(*(worker(number) for number in range(32)))
        assert server.connections <= 32


async def test_the_request_is_as_it_was_asked_for(client: Client) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        await peer.send(OK)

    async with raw_server(script) as server:
        common = Target.of(server.url, [("Content-Type", "application/json")], use_proxies=False)
        line = header_line("X-A", " é ") + b"\r\n"
        (await client.post(common, b"{}", headers=line, connect_seconds=30.0)).close()
    assert heads == [
        b"POST /v1/ask?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nX-A: \xe9\r\n"
        b"Content-Length: 2\r\n\r\n" % server.port
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\x00"), ("X: Y", "a"), ("", "a"), ("X\r\nY", "a")]
)
def test_a_header_cannot_become_two(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        header_line(name, value)


@pytest.mark.parametrize("url", ["ftp://h/", "http:///x", "http://h/a b", "http://h/a\r\nX: y", "http://h/ä"])
def test_a_url_that_is_no_target_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|codec"):
        target(url)


async def test_a_connection_that_the_server_closed_is_not_used_again(client: Client) -> None:
    async with raw_server(once(OK)) as server:
        for count in (1, 2):
            assert (await ask(client, server.url)).body == b"ok"
            assert server.connections == count
            await turns_until(lambda: not any(client._idle.values()))


async def test_bytes_that_nobody_asked_for_cost_the_connection(client: Client) -> None:
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asked.wait()
        await peer.send(b"HTTP/1.1 408 Too late\r\nContent-Length: 0\r\n\r\n")
        await peer.ended()

    async with raw_server(script) as server:
        await ask(client, server.url)
        asked.set()
        await turns_until(lambda: not any(client._idle.values()))
        assert (await ask(client, server.url)).status == 200
    assert server.connections == 2


@pytest.mark.parametrize(("header", "seconds"), [(b"", KEEPALIVE_SECONDS), (b"Keep-Alive: timeout=5, max=9\r\n", 4)])
async def test_an_idle_connection_is_kept_as_long_as_the_server_keeps_it(
    client: Client, header: bytes, seconds: float
) -> None:
    async with raw_server(always(b"HTTP/1.1 200 OK\r\n" + header + b"Content-Length: 2\r\n\r\nok")) as server:
        await ask(client, server.url)
        (idle,) = client._idle.values()
        idle[0].idle_since -= seconds - 1
        await ask(client, server.url)
        assert server.connections == 1
        idle[0].idle_since -= seconds
        client._close_stale()
        assert not client._idle
        await ask(client, server.url)
        assert server.connections == 2


async def test_idle_connections_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core_app.http1.client.MAX_IDLE", 2)
    assert MAX_IDLE > 2
    async with raw_server(always(OK)) as server:
        responses = await asyncio.gather(
            *(client.post(target(server.url), b"", connect_seconds=30.0) for _ in range(5))
        )
        assert sum(map(len, client._idle.values())) <= 2
        for response in responses:
            assert await response.read(10) == b"ok"


async def test_a_cancelled_request_closes_its_connection(client: Client) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await peer.ended()
        gone.set()

    async with raw_server(script) as server:
        task = asyncio.create_task(ask(client, server.url))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()
    assert not client._idle


async def test_a_request_cancelled_after_its_response_leaves_the_connection_to_the_next(client: Client) -> None:
    async with raw_server(echo) as server:
        first = asyncio.create_task(client.post(target(server.url), b"1", connect_seconds=30.0))
        await turns_until(lambda: any(client._idle.values()))
        # The response has arrived, and its task has not yet run.
        second = asyncio.create_task(ask(client, server.url, b"2"))
        if not first.done():
            first.cancel()
        await asyncio.wait([first])
        assert (await second).body == b"2"


async def test_a_response_that_is_closed_early_closes_its_connection(client: Client) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok")
        await peer.ended()
        gone.set()

    async with raw_server(script) as server:
        response = await client.post(target(server.url), b"", connect_seconds=30.0)
        response.close()
        await gone.wait()
        with pytest.raises(HttpClientError):
            await response.readany()


async def test_a_closed_client_ends_what_it_has(client: Client) -> None:
    async with raw_server(once_open(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok")) as server:
        response = await client.post(target(server.url), b"", connect_seconds=30.0)
        client.close()
        assert await response.readany() == b"ok"
        with pytest.raises(HttpClientError):
            await response.readany()
        with pytest.raises(ConnectFailed):
            await ask(client, server.url)


async def test_a_large_body_arrives_whole(client: Client) -> None:
    async with raw_server(echo) as server:
        assert (await ask(client, server.url, LARGE)).body == LARGE
        assert (await ask(client, server.url, b"x")).body == b"x"
    assert server.connections == 1


async def test_a_server_that_answers_before_it_has_the_body_is_heard(client: Client) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reader._limit = 0  # type: ignore[attr-defined]
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\nno")
        await refused.wait()

    refused = asyncio.Event()
    async with raw_server(script) as server:
        found = await ask(client, server.url, LARGE * 4)
        refused.set()
        assert (found.status, found.body) == (413, b"no")
        assert not client._idle


async def test_a_port_that_nobody_listens_on_is_no_connection(client: Client) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed, match="cannot be reached"):
            await ask(client, f"http://127.0.0.1:{free.getsockname()[1]}/")


async def test_a_name_without_an_address_is_told_apart(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def getaddrinfo(self: Any, host: str, port: int, **options: Any) -> list[Any]:
        nonlocal asked
        asked += 1
        raise socket.gaierror(socket.EAI_NONAME, "no")

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo, raising=False)
    if asyncio.get_running_loop().getaddrinfo.__func__ is not getaddrinfo:  # type: ignore[attr-defined]
        pytest.skip("this loop's methods cannot be replaced")
    found = await asyncio.gather(*(ask(client, "http://nowhere.test/") for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in found] == [NameNotResolved] * 5
    assert asked == 1


async def test_addresses_are_looked_up_once_a_minute(client: Client) -> None:
    async with raw_server(once(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")) as server:
        url = f"http://localhost:{server.port}/"
        await ask(client, url)
        ((until, addresses),) = client._resolver._known.values()
        assert addresses
        client._resolver._known["localhost", server.port] = until, addresses
        await ask(client, url)
        assert list(client._resolver._known.values()) == [(until, addresses)]
        client._resolver._known["localhost", server.port] = 0.0, addresses
        await ask(client, url)
        assert client._resolver._known["localhost", server.port][0] > 0


async def test_connecting_ends_with_its_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*arguments: Any, **options: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", never)
    with pytest.raises(ConnectTimedOut, match=r"within 0 s"):
        await client.post(target("http://127.0.0.1:9/"), b"", connect_seconds=0.0)


# -- TLS and proxies ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def test_https_is_used_again_and_large_bodies_pass(server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    client = Client(tls=trusting)
    async with raw_server(echo, server_tls) as server:
        url = f"https://127.0.0.1:{server.port}/"
        for body in (b"a", LARGE, b"b"):
            assert (await ask(client, url, body)).body == body
        assert server.connections == 1
        client.close()


async def test_a_certificate_that_is_not_trusted_is_refused(client: Client, server_tls: ssl.SSLContext) -> None:
    async with raw_server(echo, server_tls) as server:
        with pytest.raises(TlsFailed, match="certificate"):
            await ask(client, f"https://127.0.0.1:{server.port}/")


async def test_a_certificate_of_another_name_is_refused(server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    client = Client(tls=trusting)
    async with raw_server(echo, server_tls) as server:
        with pytest.raises(TlsFailed):
            await ask(client, f"https://localhost:{server.port}/")
    client.close()


async def test_a_server_without_tls_is_told_as_such(trusting: ssl.SSLContext) -> None:
    client = Client(tls=trusting)

    async def script(peer: Peer) -> None:
        await peer.reader.read(10)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(script) as server:
        with pytest.raises(ConnectFailed):
            await ask(client, f"https://127.0.0.1:{server.port}/")
    client.close()


def through(url: str, port: int, monkeypatch: pytest.MonkeyPatch, user: str = "") -> Target:
    """Returns the target with a proxy at `port`."""
    scheme = url.partition(":")[0]
    monkeypatch.setenv(f"{scheme}_proxy", f"http://{user}127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "")
    return Target.of(url, [])


async def test_a_proxy_of_the_environment_gets_the_whole_url(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            heads.append((await peer.request())[0])
            await peer.send(OK)

    async with raw_server(script) as proxy:
        to = through("http://provider.test:81/v1?a", proxy.port, monkeypatch, "me:p%40ss@")
        for _ in range(2):
            assert await (await client.post(to, b"", connect_seconds=30.0)).read(10) == b"ok"
    assert proxy.connections == 1
    assert heads[0].startswith(b"POST http://provider.test:81/v1?a HTTP/1.1\r\nHost: provider.test:81\r\n")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:p@ss") in heads[0]


async def test_https_goes_through_a_tunnel_of_the_proxy(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append(await peer.reader.readuntil(b"\r\n\r\n"))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pass_on(peer.reader, writer), pass_on(reader, peer.writer))

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    client = Client(tls=trusting)
    async with raw_server(echo, server_tls) as server, raw_server(script) as proxy:
        to = through(f"https://127.0.0.1:{server.port}/", proxy.port, monkeypatch, "me:secret@")
        for body in (b"a", LARGE):
            response = await client.post(to, body, connect_seconds=30.0)
            assert await response.read(len(LARGE)) == body
        assert (server.connections, proxy.connections) == (1, 1)
        client.close()
    assert heads[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
    assert b"Proxy-Authorization: Basic " in heads[0]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", b""])
async def test_a_proxy_that_refuses_is_no_connection(
    client: Client, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    async with raw_server(once(answer)) as proxy:
        to = through("https://provider.test/", proxy.port, monkeypatch)
        with pytest.raises(ConnectFailed, match="proxy"):
            await client.post(to, b"", connect_seconds=30.0)


def test_no_proxy_names_what_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "provider.test")
    assert Target.of("http://provider.test/", []).origin.proxy is None
    assert Target.of("http://other.test/", []).origin.proxy is not None


async def test_a_server_that_closes_before_the_response_may_have_the_request(client: Client) -> None:
    async with raw_server(once()) as server:
        with pytest.raises(Disconnected):
            await ask(client, server.url, LARGE)
