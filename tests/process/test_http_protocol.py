"""The limits of request heads, on the bytes as they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edge_app.http.asgi import tell_client_known
from gateway_project.process.connections import SPARED_TICKS, ConnectionTable
from gateway_project.process.http_protocol import MAX_PIPELINED, SLICE_BYTES, TURN_PIECES
from tests.process.transport import LIMITS, connect, table_of, turns

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: here\r\n"
PIECE = 65_536
PIECES = b"1\r\na\r\n"
MAX_TURN_PIECES = TURN_PIECES + SLICE_BYTES // len(PIECES) + 1


class Application:
    """Answers 200, or waits until `answer` is set, and keeps the scopes."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.answer = asyncio.Event()
        self.answer.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await self.answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def table() -> ConnectionTable:
    return table_of()


def wait_for_crowd(table: ConnectionTable) -> None:
    """Lets the time pass after which a crowd is thinned."""
    for _ in range(SPARED_TICKS):
        table.tick()


async def test_a_request_within_the_limits_is_served_and_the_connection_kept(
    application: Application, table: ConnectionTable
) -> None:
    protocol, transport = connect(application, table)
    for _ in range(3):
        protocol.data_received(GET)
        await turns()
    assert (transport.statuses, transport.closed) == ([200, 200, 200], False)
    assert (table.open, table.waiting) == (1, 1)


@pytest.mark.parametrize(
    ("start", "piece", "status", "reason"),
    [
        (b"GET /", b"a" * PIECE, 414, "url"),
        (HEAD, b"ab:cd\r\n" * (PIECE // 7), 431, "headers"),
        (HEAD + b"X: ", b"a" * PIECE, 431, "head_bytes"),
        (HEAD, b"a" * PIECE, 431, "head_bytes"),
        (b"", b"\r\n" * (PIECE // 2), 431, "head_bytes"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * PIECE, 431, "head_bytes"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a:b\r\n" * (PIECE // 5), 431, "headers"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a" * PIECE, 431, "head_bytes"),
    ],
    ids=["url", "headers", "value", "name", "empty lines", "chunk extension", "trailers", "trailer"],
)
@pytest.mark.parametrize("size", [1, 64, PIECE])
async def test_an_endless_head_is_refused_before_more_of_it_is_kept(
    application: Application, table: ConnectionTable, start: bytes, piece: bytes, status: int, reason: str, size: int
) -> None:
    application.answer.clear()
    protocol, transport = connect(application, table)
    protocol.data_received(start) if start else None
    taken, position = 0, 0
    while transport.reading and taken < 60_000_000:
        part = piece[position : position + size]
        protocol.data_received(part)
        taken, position = taken + len(part), (position + size) % len(piece)
    assert transport.statuses == [status]
    assert taken <= max(size, LIMITS.head_bytes + size)
    assert b"connection: close" in transport.written
    assert table._refused == {reason: 1}


async def test_nothing_is_read_after_a_refusal(application: Application, table: ConnectionTable) -> None:
    protocol, transport = connect(application, table)
    protocol.data_received(b"GET /" + b"a" * 2000)
    protocol.data_received(b" HTTP/1.1\r\n\r\n" + GET)
    await turns()
    assert (transport.statuses, transport.reading, application.scopes) == ([414], False, [])
    assert table.waiting == 0


@pytest.mark.parametrize("count", [19, 20])
async def test_as_many_headers_as_are_allowed_are_taken(
    application: Application, table: ConnectionTable, count: int
) -> None:
    protocol, transport = connect(application, table)
    protocol.data_received(HEAD + b"a: b\r\n" * count + b"\r\n")
    await turns()
    assert transport.statuses == [200 if count < LIMITS.headers else 431]


async def test_trailers_do_not_become_headers(application: Application, table: ConnectionTable) -> None:
    protocol, transport = connect(application, table)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
    protocol.data_received(b"1\r\na\r\n0\r\nX-Api-Key: stolen\r\n\r\n")
    await turns()
    assert transport.statuses == [200]
    assert [name for name, _ in application.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]


async def test_requests_sent_ahead_are_bounded(application: Application, table: ConnectionTable) -> None:
    application.answer.clear()
    protocol, transport = connect(application, table)
    protocol.data_received(GET * 5000)
    assert (len(protocol.pipeline), transport.closed, transport.written) == (MAX_PIPELINED, True, b"")
    assert table._refused == {"pipeline": 1}


async def test_a_few_requests_sent_ahead_are_answered_in_order(
    application: Application, table: ConnectionTable
) -> None:
    protocol, transport = connect(application, table)
    protocol.data_received(b"".join(b"GET /%d HTTP/1.1\r\nHost: here\r\n\r\n" % number for number in range(20)))
    await turns(100)
    assert transport.statuses == [200] * 20
    assert [scope["path"] for scope in application.scopes] == [f"/{number}" for number in range(20)]


async def test_an_error_never_enters_another_requests_response(table: ConnectionTable) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        begun.set()
        await ended.wait()

    protocol, transport = connect(stream, table)
    protocol.data_received(GET)
    await begun.wait()
    protocol.data_received(b"\x00 nonsense\r\n\r\n")
    assert (transport.statuses, transport.closed) == ([200], True)
    ended.set()
    await turns()


async def test_nonsense_is_a_400(application: Application, table: ConnectionTable) -> None:
    protocol, transport = connect(application, table)
    protocol.data_received(b"\x00\x01\r\n\r\n")
    assert transport.statuses == [400]


# -- time and number ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["nothing", "half a head"])
async def test_a_head_must_be_whole_in_time(application: Application, table: ConnectionTable, sent: bytes) -> None:
    protocol, transport = connect(application, table)
    protocol.data_received(sent) if sent else None
    for _ in range(15):
        table.tick()
        protocol.data_received(b"a:b\r\n") if sent else None
    assert not transport.closed
    table.tick()
    assert transport.closed
    await turns()
    assert (table.open, table.waiting) == (0, 0)


async def test_the_next_head_has_its_time_from_its_first_byte(application: Application, table: ConnectionTable) -> None:
    protocol, transport = connect(application, table)
    protocol.data_received(GET)
    await turns()
    for _ in range(60):
        table.tick()
    assert not transport.closed
    protocol.data_received(b"G")
    for _ in range(16):
        table.tick()
    assert transport.closed


async def test_a_request_under_way_has_no_such_time(application: Application, table: ConnectionTable) -> None:
    application.answer.clear()
    protocol, transport = connect(application, table)
    protocol.data_received(GET)
    for _ in range(1000):
        table.tick()
    assert not transport.closed
    application.answer.set()
    await turns()
    assert transport.statuses == [200]


async def test_a_body_that_drips_after_its_response_ends_the_connection(
    application: Application, table: ConnectionTable
) -> None:
    protocol, transport = connect(application, table)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n")
    await turns()
    assert transport.statuses == [200]
    for _ in range(16):
        protocol.data_received(b"a")
        table.tick()
    assert transport.closed


async def test_a_body_that_arrives_after_its_response_leaves_the_connection_usable(
    application: Application, table: ConnectionTable
) -> None:
    protocol, transport = connect(application, table)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\n")
    await turns()
    protocol.data_received(b"abc")
    for _ in range(60):
        table.tick()
    protocol.data_received(GET)
    await turns()
    assert transport.statuses == [200, 200]


async def test_the_longest_waiting_connections_of_an_address_are_closed(
    application: Application, table: ConnectionTable
) -> None:
    crowd = [connect(application, table)[1] for _ in range(LIMITS.idle_per_address + 2)]
    other = connect(application, table, peer="198.51.100.1")[1]
    wait_for_crowd(table)
    assert [transport.closed for transport in crowd] == [True, True, False, False, False, False]
    assert not other.closed


async def test_connections_of_clients_with_a_good_key_are_kept(
    application: Application, table: ConnectionTable
) -> None:
    async def known(scope: Any, receive: Any, send: Any) -> None:
        tell_client_known(scope)
        await application(scope, receive, send)

    crowd = [connect(known, table) for _ in range(LIMITS.idle_per_address + 2)]
    strangers = [connect(application, table) for _ in range(LIMITS.idle_per_address + 1)]
    for protocol, _ in crowd + strangers:
        protocol.data_received(GET)
    await turns()
    wait_for_crowd(table)
    assert not any(transport.closed for _, transport in crowd)
    assert [transport.closed for _, transport in strangers] == [True] + [False] * LIMITS.idle_per_address


async def test_an_ipv6_network_counts_as_one_address(application: Application, table: ConnectionTable) -> None:
    crowd = [connect(application, table, peer=f"2001:db8::{number:x}")[1] for number in range(6)]
    wait_for_crowd(table)
    assert sum(transport.closed for transport in crowd) == 2


async def test_a_trusted_proxy_has_no_limit_per_address(
    application: Application, table: ConnectionTable, settings: Any
) -> None:
    settings.GATEWAY_TRUSTED_PROXIES = ["10.0.0.0/8"]
    proxied = [connect(application, table, peer="10.1.2.3")[1] for _ in range(LIMITS.idle)]
    wait_for_crowd(table)
    assert not any(transport.closed for transport in proxied)


async def test_half_heads_go_before_kept_connections(application: Application, table: ConnectionTable) -> None:
    kept = []
    for number in range(5):
        protocol, transport = connect(application, table, peer=f"198.51.100.{number}")
        protocol.data_received(GET)
        kept.append(transport)
    await turns()
    silent = [connect(application, table, peer=f"203.0.113.{number}")[1] for number in range(8)]
    wait_for_crowd(table)
    assert not any(transport.closed for transport in kept)
    assert sum(transport.closed for transport in silent) == 3


async def test_a_newcomer_is_not_closed_before_it_could_speak(application: Application, table: ConnectionTable) -> None:
    table.tick()
    crowd = [connect(application, table) for _ in range(30)]
    for protocol, _ in crowd:
        protocol.data_received(GET)
    table.tick()
    await turns()
    assert [transport.statuses for _, transport in crowd] == [[200]] * 30


async def test_a_busy_client_has_two_seconds_to_speak_on_its_new_connections(
    application: Application, table: ConnectionTable
) -> None:
    crowd = [connect(application, table) for _ in range(30)]
    for _ in range(2):
        table.tick()
    for protocol, _ in crowd:
        protocol.data_received(GET)
    await turns()
    assert [transport.statuses for _, transport in crowd] == [[200]] * 30


async def test_the_last_descriptors_are_not_given_to_connections(
    application: Application, table: ConnectionTable
) -> None:
    crowd = [connect(application, table)[1] for _ in range(LIMITS.idle_per_address + 1)]
    protocol, transport = connect(application, table, descriptor=LIMITS.descriptors)
    protocol.data_received(GET)
    await turns()
    assert (transport.statuses, transport.closed, application.scopes) == ([503], True, [])
    assert b"retry-after: 1" in transport.written
    # The crowd is not waited for: the next newcomer has its place.
    assert sum(silent.closed for silent in crowd) == 1
    assert table.open == LIMITS.idle_per_address


async def test_refusals_are_logged_as_sums_once_a_minute(
    application: Application, table: ConnectionTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "gateway_project.process.connections.logger.warning", lambda event, **fields: lines.append(fields)
    )
    for _ in range(60):
        connect(application, table)[0].data_received(b"GET /" + b"a" * 2000)
        table.tick()
    assert [line["url"] for line in lines] == [60]


async def test_other_connections_get_the_loop_between_the_pieces_of_a_body(table: ConnectionTable) -> None:
    count, bodies = 20_000, []

    async def read(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    protocol, transport = connect(read, table)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n" + PIECES * count)
    pieces = [protocol._pieces]
    while not transport.reading:
        await turns(1)
        pieces.append(protocol._pieces)
    assert len(pieces) > count / MAX_TURN_PIECES
    assert max(pieces) <= MAX_TURN_PIECES
    protocol.data_received(b"0\r\n\r\n" + GET)
    await turns(20)
    assert bodies == [b"a" * count, b""]
    assert transport.statuses == [200, 200]


async def test_what_comes_while_pieces_wait_keeps_its_order(table: ConnectionTable) -> None:
    bodies = []

    async def read(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        bodies.append(body)

    protocol, transport = connect(read, table)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n" + PIECES * 5000)
    assert not transport.reading
    transport.resume_reading()
    protocol.data_received(b"1\r\nb\r\n0\r\n\r\n")
    assert not transport.reading
    await turns(200)
    assert bodies == [b"a" * 5000 + b"b"]


async def test_pieces_that_wait_end_with_their_connection(application: Application, table: ConnectionTable) -> None:
    application.answer.clear()
    protocol, transport = connect(application, table)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n" + PIECES * 5000)
    transport.close()
    await turns(200)
    assert (table.open, table.waiting) == (0, 0)
    assert transport.statuses == []
