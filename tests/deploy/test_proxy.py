"""deploy/nginx.conf in a real nginx: requests, streams and sockets pass unbuffered, and no secret is logged."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from django.conf import settings

from tests.deploy.conftest import ANSWER_SECONDS, Proxy
from tests.deploy.stub_gateway import Stub

CONFIGURATION = (settings.BASE_DIR / "deploy" / "nginx.conf").read_text(encoding="utf-8")


@asynccontextmanager
async def raw(front: Proxy, sent: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Opens a connection and sends `sent` on it, and nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.layout.port)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(sent)
            yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def test_events_arrive_when_they_are_sent(client: aiohttp.ClientSession, behind: Stub) -> None:
    async with asyncio.timeout(ANSWER_SECONDS), client.get("/stream") as answer:
        assert await answer.content.readuntil(b"\n\n") == b"id: 1\ndata: {}\n\n"
        behind.go_on.set()
        assert await answer.content.readuntil(b"\n\n") == b"id: 2\ndata: {}\n\n"


async def test_a_socket_goes_through(client: aiohttp.ClientSession, behind: Stub) -> None:
    async with asyncio.timeout(ANSWER_SECONDS), client.ws_connect("/ws?api_key=SECRET") as socket:
        await socket.send_str("hello")
        assert json.loads(await socket.receive_str()) == {"echo": "hello", "query": "api_key=SECRET"}


async def test_the_gateway_is_told_who_came_and_how_and_not_what_he_claims(
    client: aiohttp.ClientSession, behind: Stub
) -> None:
    claims = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "Host": "gateway.example:8443",
        "Tailscale-User-Login": "ann@example.com",
    }
    async with client.get("/v1/models", headers=claims) as answer:
        headers = (await answer.json())["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["host"] == headers["x-forwarded-host"] == "gateway.example:8443"
    assert "tailscale-user-login" not in headers


async def test_a_request_id_goes_through_and_is_made_where_there_is_none(
    client: aiohttp.ClientSession, behind: Stub
) -> None:
    async with client.get("/", headers={"X-Request-Id": "mine"}) as answer:
        assert (await answer.json())["headers"]["x-request-id"] == "mine"
    async with client.get("/") as answer:
        assert re.fullmatch("[0-9a-f]{32}", (await answer.json())["headers"]["x-request-id"])


async def test_a_refusal_does_not_wait_for_the_body(front: Proxy, client: aiohttp.ClientSession, behind: Stub) -> None:
    begun = b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nthe first of it"
    async with raw(front, begun) as reader:
        assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"


async def test_no_query_string_and_no_credential_of_a_path_is_written_down(
    front: Proxy, client: aiohttp.ClientSession
) -> None:
    async with Stub(front.ports[0]).serve():
        for path in ("/a?api_key=SECRET", "/v1/callbacks/SECRET", "/ws?token=SECRET"):
            async with client.get(path, headers={"Referer": "https://example/?key=SECRET"}) as answer:
                await answer.read()
    # Nobody answers any more: nginx has something to complain about.
    async with client.get("/b?api_key=SECRET") as answer:
        assert answer.status == 503
    for _ in range(1_000):  # nginx writes a line after the answer has gone
        if '"path":"/b"' in (log_text := front.log_text()):
            break
        async with client.get("/c"):
            pass
    assert {'"path":"/a"', '"path":"/b"', '"path":"/v1/callbacks/[redacted]"'} <= set(
        re.findall('"path":"[^"]*"', log_text)
    )
    assert "SECRET" not in log_text


async def test_without_any_process_the_answer_is_the_gateways_own_error(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/sessions", json={}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await answer.json())["error"] == "unavailable"


async def test_a_process_that_is_gone_is_passed_over_for_a_post_too(
    client: aiohttp.ClientSession, behind: Stub
) -> None:
    for _ in range(8):
        async with client.post("/v1/sessions", json={}) as answer:
            assert (answer.status, (await answer.json())["name"]) == (200, "stub")


async def test_a_body_that_no_path_takes_is_refused_in_the_gateways_words(
    front: Proxy, client: aiohttp.ClientSession, behind: Stub
) -> None:
    length = settings.GATEWAY_MAX_INFERENCE_BODY_BYTES + 1
    begun = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    async with raw(front, begun.encode()) as reader:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readuntil(b"}")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["error"] == "payload_too_large"


def test_it_takes_what_the_gateway_takes() -> None:
    limit = re.search(r"client_max_body_size (\d+)m;", CONFIGURATION)
    assert limit is not None
    assert int(limit[1]) * 1024 * 1024 == settings.GATEWAY_MAX_INFERENCE_BODY_BYTES


@pytest.mark.parametrize("name", ["proxy_read_timeout", "send_timeout"])
def test_a_stream_between_two_heartbeats_is_not_cut(name: str) -> None:
    found = re.search(rf"\b{name} (\d+)([sh]);", CONFIGURATION)
    assert found is not None
    assert int(found[1]) * {"s": 1, "h": 3600}[found[2]] > 2 * settings.GATEWAY_HEARTBEAT_SECONDS


def test_one_address_has_a_limit_of_connections_and_is_told_so() -> None:
    """At nginx, because behind it every connection comes from its address."""
    assert "limit_conn_zone $binary_remote_addr zone=per_address:" in CONFIGURATION
    limit = re.search(r"^    limit_conn per_address (\d+);", CONFIGURATION, re.MULTILINE)
    assert limit is not None
    assert int(limit[1]) == 1000
    assert "limit_conn_status 429;" in CONFIGURATION
    told = re.search(r"return 429 '(.*)';", CONFIGURATION)
    assert told is not None
    assert json.loads(told[1])["error"] == "rate_limited"
