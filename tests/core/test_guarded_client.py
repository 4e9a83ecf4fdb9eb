"""The guarded client refuses private addresses in every spelling, and no server can hold it."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from core_app import addresses, guarded_client, guarded_connector
from core_app.guarded_client import (
    UNREACHED,
    AddressRefused,
    CallFailed,
    ConnectionFailed,
    GuardedClient,
    TimedOut,
    TooLarge,
    Unreadable,
    check_url,
)

PUBLIC = "93.184.216.34"

REFUSED_HOSTS = [
    "127.0.0.1",
    "127.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "0.0.0.0",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "１２７.0.0.1",
    "127。0。0。1",
    "[::1]",
    "[::]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:5db8:d822::80ff:fffe]",
    "[2001:470:1f00::5efe:7f00:1]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[2001:db8::1]",
    "localhost",
    "LOCALHOST.",
    "api.localhost",
    "metadata.google.internal",
    "printer.local",
]


@pytest.mark.parametrize("host", REFUSED_HOSTS)
def test_a_host_that_is_not_public_is_refused_as_it_is_written(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(f"https://{host}/path")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "example.com",
        "https://",
        "https:///path",
        "https://user:password@example.com/",
        "https://user@example.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://exam ple.com/",
        "https://example.com/\r\nX-Evil: 1",
        "https://example.com\\@127.0.0.1/",
        "https://[::1/",
        "https://" + "a" * 5000,
        "",
        None,
        7,
        ["https://example.com/"],
    ],
)
def test_what_is_no_https_address_is_refused(url: Any) -> None:
    with pytest.raises(AddressRefused):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://example.com:8443/a?b=c",
        f"https://{PUBLIC}/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/",
        "https://bücher.example/",
        "https://0x.example/",
    ],
)
def test_a_public_https_address_passes(url: str) -> None:
    assert check_url(url) == url


def test_private_addresses_pass_where_they_are_allowed_but_odd_ones_never(settings: Any) -> None:
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True
    assert check_url("http://127.0.0.1:9/")
    for url in ("http://2130706433/", "http://user:x@127.0.0.1/", "ftp://127.0.0.1/"):
        with pytest.raises(AddressRefused):
            check_url(url)


# --- Connections -------------------------------------------------------------------------------------

TLS_HANDSHAKE = b"\x16"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Site:
    """A server on the loopback interface; `serve` handles each connection."""

    def __init__(self, serve: Serve) -> None:
        self.connections = 0
        self.requests: list[str] = []
        self._serve = serve
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            first = await reader.readexactly(1)
            if first == TLS_HANDSHAKE:
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode())
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()


def says(head: str, body: bytes = b"") -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    return serve


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Callable[[Serve], Awaitable[Site]]]:
    started: list[Site] = []

    async def start(serve: Serve) -> Site:
        made = Site(serve)
        await made.start()
        started.append(made)
        return made

    yield start
    for made in started:
        await made.stop()


class Names:
    """A scripted resolver: each name has a list of replies, used in order, the last one repeatedly."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Callable[..., GuardedClient]]:
    made: list[GuardedClient] = []

    def make(*answers: list[str]) -> GuardedClient:
        made.append(GuardedClient(Names(*answers) if answers else None))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


async def get(client: GuardedClient, url: str, **more: Any) -> Any:
    return await client.request("GET", url, **{"timeout": 5.0, "max_bytes": 1000, **more})


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["169.254.169.254"],
        ["fe80::1%eth0"],
    ],
)
async def test_a_name_that_leads_inside_is_refused_before_any_connection(
    site: Any, client: Any, answers: list[str]
) -> None:
    inside = await site(says("200 OK"))
    with pytest.raises(ConnectionFailed):
        await get(client(answers), f"https://rebind.example:{inside.port}/")
    assert inside.connections == 0


async def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_checked(
    site: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda address: str(address) == "127.0.0.1")
    seen_as_public = await site(says("200 OK"))
    rebinding = client(["127.0.0.1"], ["127.0.0.2"])
    url = f"https://rebind.example:{seen_as_public.port}/"
    with pytest.raises(ConnectionFailed):  # it speaks no TLS; that it was reached is what counts
        await get(rebinding, url)
    assert (seen_as_public.connections, rebinding._resolve.asked) == (1, 1)
    with pytest.raises(ConnectionFailed):
        await get(rebinding, url)
    assert seen_as_public.connections == 1


async def test_the_socket_itself_refuses_an_address_that_slipped_past_every_other_look(
    site: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = await site(says("200 OK"))
    monkeypatch.setattr(guarded_client, "_parse_url", lambda url, allowed: URL(url))
    with pytest.raises(ConnectionFailed):
        await get(client(), f"http://127.0.0.1:{inside.port}/")
    assert inside.connections == 0


async def test_a_connection_made_with_permission_is_not_used_without(site: Any, client: Any) -> None:
    inside = await site(says("200 OK", b"x"))
    shared = client(["127.0.0.1"])
    url = f"http://name.example:{inside.port}/"
    assert (await get(shared, url, allow_private=True)).status == 200
    with pytest.raises(AddressRefused):
        await get(shared, url)


async def test_redirects_are_answers_and_not_followed(site: Any, client: Any) -> None:
    target = await site(says("200 OK"))
    first = await site(says(f"302 Found\r\nLocation: http://127.0.0.1:{target.port}/"))
    answer = await get(client(), f"http://127.0.0.1:{first.port}/", allow_private=True)
    assert answer.status == 302
    assert target.connections == 0


async def test_cookies_and_proxies_of_the_environment_are_not_used(
    site: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await site(says("200 OK", b"proxied"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    direct = await site(says("200 OK\r\nSet-Cookie: a=b; Path=/", b"direct"))
    same = client(["127.0.0.1"])
    for _ in range(2):
        answer = await get(same, f"http://name.example:{direct.port}/", allow_private=True)
        assert answer.body == b"direct"
    assert proxy.connections == 0
    assert "cookie:" not in "".join(direct.requests).lower()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def test_an_endless_answer_is_given_up_at_the_bound(site: Any, client: Any) -> None:
    flood = await site(endless)
    with pytest.raises(TooLarge):
        await get(client(), f"http://127.0.0.1:{flood.port}/", allow_private=True)


async def test_an_endless_answer_can_be_cut_instead(site: Any, client: Any) -> None:
    flood = await site(endless)
    answer = await get(client(), f"http://127.0.0.1:{flood.port}/", allow_private=True, truncate=True)
    assert answer.body == b"x" * 1000


async def drip_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nx")
    await writer.drain()
    await reader.read()


async def drip_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize("slow", [drip_body, drip_head])
async def test_a_slow_answer_is_given_up_in_time(site: Any, client: Any, slow: Serve) -> None:
    dripping = await site(slow)
    with pytest.raises(TimedOut):
        await get(client(), f"http://127.0.0.1:{dripping.port}/", allow_private=True, timeout=0.1)


@pytest.mark.parametrize(
    "serve",
    [
        says("999999 OK"),
        says("200 OK\r\nX-Long: " + "x" * 100_000),
    ],
)
async def test_what_is_no_plain_answer_is_a_failed_connection(site: Any, client: Any, serve: Serve) -> None:
    odd = await site(serve)
    with pytest.raises(ConnectionFailed):
        await get(client(), f"http://127.0.0.1:{odd.port}/", allow_private=True)


async def test_a_compressed_answer_cannot_be_read_and_of_a_failure_the_status_is_all(site: Any, client: Any) -> None:
    packed = gzip.compress(b"x" * 100_000)
    well = await site(says("200 OK\r\nContent-Encoding: gzip", packed))
    ill = await site(says("503 No\r\nContent-Encoding: gzip", packed))
    with pytest.raises(Unreadable):
        await get(client(), f"http://127.0.0.1:{well.port}/", allow_private=True)
    answer = await get(client(), f"http://127.0.0.1:{ill.port}/", allow_private=True)
    assert (answer.status, answer.body) == (503, b"")


async def test_a_closed_port_and_an_unknown_name_are_failed_connections(site: Any, client: Any) -> None:
    gone = await site(says("200 OK"))
    port = gone.port
    await gone.stop()
    with pytest.raises(ConnectionFailed):
        await get(client(), f"http://127.0.0.1:{port}/", allow_private=True)

    def find_nothing(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    unknown = client()
    unknown._resolve = find_nothing
    with pytest.raises(ConnectionFailed):
        await get(unknown, "https://nowhere.example/")


async def test_a_name_that_leads_inside_is_told_from_an_unknown_one_by_nothing(client: Any) -> None:
    """Else a tenant would learn which names there are in the operator's network."""

    def find_nothing(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    unknown = client()
    unknown._resolve = find_nothing
    failures = []
    for asked in (client(["10.0.0.7"]), client(["93.184.216.34", "127.0.0.1"]), unknown):
        with pytest.raises(CallFailed) as failed:
            await get(asked, "https://name.example/")
        failures.append((type(failed.value), failed.value.reason, failed.value.sent))
    assert set(failures) == {(ConnectionFailed, UNREACHED[False], False)}


async def drop_after_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("serve", "failure"),
    [
        (drop_after_request, ConnectionFailed),
        (keep_silent, TimedOut),
        (says("200 OK\r\nContent-Encoding: gzip", b"zip"), Unreadable),
        (says("200 OK", b"x" * 2000), TooLarge),
    ],
)
async def test_a_failure_after_the_connection_says_that_the_request_may_have_been_sent(
    site: Any, client: Any, serve: Serve, failure: type[CallFailed]
) -> None:
    found = await site(serve)
    with pytest.raises(failure) as failed:
        await get(client(), f"http://127.0.0.1:{found.port}/", allow_private=True, timeout=0.5)
    assert failed.value.sent


async def test_a_failure_before_the_connection_says_that_nothing_was_sent(
    site: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = await site(says("200 OK"))
    port = gone.port
    await gone.stop()
    with pytest.raises(ConnectionFailed) as refused:
        await get(client(), f"http://127.0.0.1:{port}/", allow_private=True)
    answering = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        answering.wait(60)
        raise OSError(-2, "Name or service not known")

    slow = client()
    slow._resolve = resolve
    with pytest.raises(TimedOut) as waited:
        await get(slow, "https://slow.example/", timeout=0.05)
    answering.set()
    with pytest.raises(ConnectionFailed) as unknown:
        await get(slow, "https://slow.example/")

    async def never(*args: Any, **more: Any) -> Any:
        raise aiohttp.ConnectionTimeoutError

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", never)
    with pytest.raises(ConnectionFailed) as unconnected:
        await get(client(), f"http://127.0.0.1:{port}/", allow_private=True)
    assert [failed.value.sent for failed in (refused, waited, unknown, unconnected)] == [False] * 4


async def test_one_tenants_slow_requests_leave_the_host_to_others(site: Any, client: Any, settings: Any) -> None:
    settings.GATEWAY_CONNECTIONS_PER_HOST = 4
    reached: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if slow.requests[-1].startswith("GET /slow"):
            reached.append("slow")
            await reader.read()
        else:
            await says("200 OK")(reader, writer)

    slow, guarded = await site(serve), client()
    address = f"http://127.0.0.1:{slow.port}"
    asked = [
        asyncio.ensure_future(get(guarded, f"{address}/slow", allow_private=True, timeout=60.0, owner=1))
        for _ in range(10)
    ]
    try:
        async with asyncio.timeout(60):
            while len(reached) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert (await get(guarded, f"{address}/", allow_private=True, timeout=30.0, owner=2)).status == 200
        with pytest.raises(TimedOut) as waited:
            await get(guarded, f"{address}/", allow_private=True, timeout=0.05, owner=1)
        assert not waited.value.sent
        assert len(reached) == 4
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_a_tenant_has_a_share_of_all_connections(site: Any, client: Any, settings: Any) -> None:
    settings.GATEWAY_CONNECTIONS_PER_TENANT = 2
    sites = [await site(keep_silent) for _ in range(3)]
    quick, guarded = await site(says("200 OK")), client()
    asked = [
        asyncio.ensure_future(get(guarded, f"http://127.0.0.1:{each.port}/", allow_private=True, timeout=60.0, owner=1))
        for each in sites
    ]
    try:
        async with asyncio.timeout(60):
            while sum(len(each.requests) for each in sites) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        address = f"http://127.0.0.1:{quick.port}/"
        with pytest.raises(TimedOut):
            await get(guarded, address, allow_private=True, timeout=0.05, owner=1)
        assert (await get(guarded, address, allow_private=True, timeout=30.0, owner=2)).status == 200
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_one_tenants_silent_name_servers_hold_up_nobody_elses_names(client: Any) -> None:
    answering = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        if host == "quick.example":
            return ["127.0.0.1"]
        answering.wait(60)
        raise OSError(-2, "Name or service not known")

    guarded = client()
    guarded._resolve = resolve
    asked: list[asyncio.Future[Any]] = []
    try:
        for timeout in (0.05, 60.0):  # those that were given up, whose threads go on, and those still waited for
            asked += [
                asyncio.ensure_future(get(guarded, f"https://slow{number}.example/", timeout=timeout, owner=1))
                for number in range(2 * guarded_connector.RESOLVER_THREADS)
            ]
            await asyncio.wait(asked, timeout=0.2)
            with pytest.raises(ConnectionFailed):
                await get(guarded, "https://quick.example/", timeout=30.0, owner=2)
    finally:
        answering.set()
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(end) for end in ends} == {TimedOut, ConnectionFailed}
