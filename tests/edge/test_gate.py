"""The gate: its checks in their order (host, path, key, limit, body), its responses and its log lines."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path as url_path

from core_app.errors import Conflict, NotFound, Unauthorized
from edge_app.face import Face, Route
from edge_app.gate import Gate, PathTable
from edge_app.gate import gate as gate_module
from edge_app.gate.failed_keys import FailedKeys
from edge_app.http import body
from edge_app.http.asgi import Application, Receive, Scope, Send
from edge_app.http.body import read_body
from edge_app.http.body_budget import BODIES, FREE_BYTES
from edge_app.http.response import send_response
from tenants_app.key_cache import KEY_CACHE
from tenants_app.limits import RateLimits
from tenants_app.principal import SCOPES, Principal
from tenants_app.secret import secret_hash
from tests.edge.asgi import WAIT, ask, http_scope, socket_scope
from tests.tenants.logged import lines

KEY = {"X-API-Key": "good-key"}
BAD = {"X-API-Key": "bad-key"}
OPEN_PATHS = ("/healthz", "/readyz", "/health", "/status", "/openapi.json", "/docs", "/static", "/admin", "/console")
OTHER_TENANT = 8
PRINCIPAL = Principal(tenant_id=7, tenant_slug="acme", key_id=70_001, key_name="k", scopes=frozenset(SCOPES))


class Inner:
    """The application behind the gate: it records the scopes that reach it and responds with the body's length."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.at_once = self.most_at_once = 0
        self.hold: asyncio.Event | None = None
        self.entered: asyncio.Queue[str] = asyncio.Queue()
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await self._socket(receive, send)
            return
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.entered.put_nowait(scope["path"])
        if self.hold is not None:
            await self.hold.wait()
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": str(size).encode()})

    async def _socket(self, receive: Receive, send: Send) -> None:
        await receive()
        if self.error is not None:
            raise self.error
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
async def limits() -> AsyncIterator[RateLimits]:
    limits = RateLimits()
    yield limits
    await limits.close()


@pytest.fixture
def gate(settings: Any, inner: Inner, limits: RateLimits) -> Gate:
    settings.GATEWAY_KEY_CACHE_SECONDS = 3600
    remember("good-key", PRINCIPAL)
    remember("bad-key", None)
    return make(inner, limits)


def make(inner: Application, limits: RateLimits, *more: Route, **fields: Any) -> Gate:
    """Makes a gate in front of one face, with `more` routes and other fields."""
    face = Face(
        name="test",
        consumers=(
            Route(path="healthz", application=inner, key="none", probe=True),
            Route(path="readyz", application=inner, key="none", probe=True),
            Route(path="stream", application=inner),
            Route(path="socket", application=inner, protocol="websocket"),
            *more,
        ),
        urls=[url_path("things", view)],
        open_paths=("/openapi.json", "/docs", "/static", "/admin", "/console"),
        optional_key_paths=("/health", "/status"),
        **fields,
    )
    return Gate(inner, PathTable([face]), limits=limits)


def view(request: HttpRequest) -> HttpResponse:
    """Stands for a Django view; the gate only needs its path."""
    raise AssertionError


def remember(secret: str, principal: Principal | None) -> None:
    """Puts the key's principal into the cache, so that no database is needed."""
    KEY_CACHE.get_or_load(secret_hash(secret), lambda: principal)


def fresh_key_id() -> int:
    """Returns a key id whose bucket is unused: Redis keeps buckets from one test to the next."""
    return random.getrandbits(62)


async def test_a_request_with_a_key_brings_its_principal(gate: Gate, inner: Inner) -> None:
    answer = await ask(gate, http_scope("POST", "/things", KEY), [b"abc", b"de"])
    assert (answer.status, answer.body) == (200, b"5")
    assert inner.scopes[0]["gateway.principal"] == PRINCIPAL
    assert inner.scopes[0]["gateway.request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-own"] == "1"


@pytest.mark.parametrize("headers", [{}, BAD, {"X-API-Key": "x" * 9000}, {"Authorization": "Bearer \x00"}])
async def test_a_request_without_a_good_key_is_refused_before_its_body_is_read(
    gate: Gate, inner: Inner, headers: dict[str, str]
) -> None:
    remember("x" * 9000, None)
    answer = await ask(gate, http_scope("POST", "/things", {**headers, "Content-Length": str(300 * 2**20)}))
    assert answer.error == (401, "unauthorized")
    assert answer.received == 0
    assert answer.headers["connection"] == "close"
    assert inner.scopes == []


async def test_a_key_in_the_query_opens_sockets_only(gate: Gate) -> None:
    assert (await ask(gate, http_scope("GET", "/things", query="api_key=good-key"))).status == 401
    answer = await ask(gate, socket_scope("/socket", query="api_key=good-key"))
    assert answer.sent[0] == {"type": "websocket.accept"}


@pytest.mark.parametrize("headers", [{}, BAD, KEY])
async def test_an_unknown_path_is_404_whatever_the_key_and_nothing_is_read(
    gate: Gate, inner: Inner, headers: dict[str, str]
) -> None:
    scope = http_scope("POST", "/nowhere", {**headers, "Content-Length": str(300 * 2**20)})
    answer = await ask(gate, scope)
    assert answer.error == (404, "not_found")
    assert answer.received == 0
    assert inner.scopes == []


@pytest.mark.parametrize("path", [*OPEN_PATHS, "/docs/x.js", "/static/a/b.css", "/admin/login/", "/console/"])
async def test_open_paths_need_no_key(gate: Gate, path: str) -> None:
    assert (await ask(gate, http_scope("GET", path))).status == 200


@pytest.mark.parametrize("path", ["/adminx", "/healthz2", "/statuses", "/documents", "/consoles", "/Admin", "//admin"])
async def test_what_only_begins_like_an_open_path_is_not_open(gate: Gate, path: str) -> None:
    assert (await ask(gate, http_scope("GET", path))).status == 404


async def test_an_open_path_has_the_body_limit_too(gate: Gate, inner: Inner, settings: Any) -> None:
    scope = http_scope("POST", "/admin/login/", {"Content-Length": str(settings.GATEWAY_MAX_BODY_BYTES + 1)})
    answer = await ask(gate, scope)
    assert answer.error == (413, "payload_too_large")
    assert answer.received == 0


async def test_a_credential_in_the_path_is_checked_before_the_body_is_read(inner: Inner, limits: RateLimits) -> None:
    async def check(scope: Scope) -> None:
        if not scope["path"].endswith("/good"):
            raise NotFound("There is no such token.")

    gate = make(inner, limits, own_credential_paths={"/tokens/": check})
    refused = await ask(gate, http_scope("POST", "/tokens/bad"), [b"x"])
    assert (refused.error, refused.received, inner.scopes) == ((404, "not_found"), 0, [])
    assert (await ask(gate, http_scope("POST", "/tokens/good"), [b"x"])).body == b"1"


async def test_bodies_beyond_the_memory_for_them_are_refused_and_said_when_to_come_again(
    gate: Gate, inner: Inner, settings: Any
) -> None:
    settings.GATEWAY_BODY_MEMORY_BYTES = 4 * FREE_BYTES
    BODIES.hold(PRINCIPAL.tenant_id, 2 * FREE_BYTES)
    try:
        length = {"Content-Length": str(FREE_BYTES + 1)}
        announced = await ask(gate, http_scope("POST", "/things", {**KEY, **length}))
        assert (announced.error, announced.received) == ((429, "rate_limited"), 0)
        assert announced.headers["retry-after"]
        chunked = await ask(gate, http_scope("POST", "/stream", KEY), [b"x" * FREE_BYTES, b"x"])
        assert (chunked.error, chunked.received) == ((429, "rate_limited"), 2)
        other = await ask(gate, http_scope("POST", "/admin/login/"), [b"x" * (FREE_BYTES + 1)])
        assert other.status == 200
        BODIES.hold(OTHER_TENANT, 2 * FREE_BYTES)
        other = await ask(gate, http_scope("POST", "/admin/login/"), [b"x" * (FREE_BYTES + 1)])
        assert (other.error, other.headers["retry-after"]) == ((503, "unavailable"), "2")
    finally:
        BODIES.hold(PRINCIPAL.tenant_id, -2 * FREE_BYTES)
        BODIES.hold(OTHER_TENANT, -2 * FREE_BYTES)
    assert BODIES.held_bytes == 0


async def test_a_body_is_held_until_the_response_or_until_the_application_needs_it_no_more(
    limits: RateLimits, gate: Gate
) -> None:
    held: list[int] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive, 4 * FREE_BYTES)
        held.append(BODIES.held_bytes)
        if scope["path"] == "/stream":
            scope["gateway.release_body"]()
        held.append(BODIES.held_bytes)
        await send_response(send, 200, b"")

    reading = make(application, limits)
    for path in ("/things", "/stream"):
        await ask(reading, http_scope("POST", path, KEY), [b"x" * FREE_BYTES, b"x"])
    assert held == [FREE_BYTES + 1, FREE_BYTES + 1, FREE_BYTES + 1, 0]
    assert BODIES.held_bytes == 0


async def test_the_health_page_may_know_who_asks_and_does_not_mind_a_bad_key(gate: Gate, inner: Inner) -> None:
    await ask(gate, http_scope("GET", "/health", KEY))
    await ask(gate, http_scope("GET", "/health", BAD))
    assert inner.scopes[0]["gateway.principal"] == PRINCIPAL
    assert "gateway.principal" not in inner.scopes[1]


async def test_a_declared_length_over_the_limit_is_413_and_not_read(gate: Gate, settings: Any) -> None:
    settings.GATEWAY_MAX_BODY_BYTES = 10
    answer = await ask(gate, http_scope("POST", "/things", {**KEY, "Content-Length": "11"}))
    assert answer.error == (413, "payload_too_large")
    assert answer.received == 0


async def test_a_chunked_body_over_the_limit_is_413_at_the_first_byte_too_many(
    gate: Gate, inner: Inner, settings: Any
) -> None:
    settings.GATEWAY_MAX_BODY_BYTES = 10
    scope = http_scope("POST", "/things", {**KEY, "Transfer-Encoding": "chunked"})
    answer = await ask(gate, scope, [b"x" * 5, b"x" * 6, b"x" * 1000])
    assert answer.error == (413, "payload_too_large")
    assert answer.received == 2
    assert inner.scopes == []


async def test_a_length_that_lies_does_not_help(gate: Gate, settings: Any) -> None:
    settings.GATEWAY_MAX_BODY_BYTES = 10
    answer = await ask(gate, http_scope("POST", "/things", {**KEY, "Content-Length": "1"}), [b"x" * 11])
    assert answer.status == 413


async def test_a_stream_counts_its_body_while_it_reads(gate: Gate, inner: Inner, settings: Any) -> None:
    settings.GATEWAY_MAX_BODY_BYTES = 10
    assert (await ask(gate, http_scope("POST", "/stream", KEY), [b"x" * 5, b"x" * 5])).body == b"10"
    assert (await ask(gate, http_scope("POST", "/stream", KEY), [b"x" * 5, b"x" * 6])).status == 413


async def test_a_path_may_have_a_limit_of_its_own(inner: Inner, limits: RateLimits, gate: Gate) -> None:
    wide = make(inner, limits, body_limit=lambda path: 100 if path == "/things" else 10)
    assert (await ask(wide, http_scope("POST", "/things", KEY), [b"x" * 100])).status == 200
    assert (await ask(wide, http_scope("POST", "/things", KEY), [b"x" * 101])).status == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "many", "9" * 40, "²"])
async def test_a_length_that_is_no_number_is_a_bad_request(gate: Gate, length: str) -> None:
    answer = await ask(gate, http_scope("POST", "/things", {**KEY, "Content-Length": length}))
    assert answer.error == (400, "bad_request")
    assert answer.received == 0


async def test_a_chunked_body_reaches_the_application_with_its_length(gate: Gate, inner: Inner) -> None:
    await ask(gate, http_scope("POST", "/things", {**KEY, "Transfer-Encoding": "chunked"}), [b"ab", b"c"])
    headers = dict(inner.scopes[0]["headers"])
    assert headers[b"content-length"] == b"3"
    assert b"transfer-encoding" not in headers


async def test_a_client_that_goes_away_in_its_body_reaches_nobody(
    gate: Gate, inner: Inner, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await gate(http_scope("POST", "/things", KEY), receive, send)
    assert inner.scopes == []
    assert sent == []
    assert lines(caplog, "request")[-1]["status"] == 499


async def test_a_client_that_sends_nothing_is_answered_in_the_end(
    monkeypatch: pytest.MonkeyPatch, gate: Gate, inner: Inner
) -> None:
    monkeypatch.setattr(body, "SENDER_SECONDS", 0.01)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(WAIT):
        await gate(http_scope("POST", "/things", KEY), receive, send)
    assert sent[0]["status"] == 400


@pytest.mark.parametrize(("size", "status"), [(1, 400), (2048, 200)])
async def test_a_body_that_drips_is_refused_after_its_first_minute(
    monkeypatch: pytest.MonkeyPatch, gate: Gate, settings: Any, size: int, status: int
) -> None:
    """A chunk of `size` bytes a second, for two minutes."""
    settings.GATEWAY_MIN_BODY_BYTES_PER_SECOND = 1024
    seconds = 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal seconds
        seconds += 1
        return {"type": "http.request", "body": b"a" * size, "more_body": seconds < 120}

    async def send(message: Any) -> None:
        sent.append(message)

    monkeypatch.setattr(body, "monotonic", lambda: float(seconds))
    await gate(http_scope("POST", "/things", KEY), receive, send)
    assert sent[0]["status"] == status
    assert seconds == (61 if status == 400 else 120)


async def test_a_host_that_is_not_allowed_is_refused_on_every_path(gate: Gate, settings: Any) -> None:
    settings.GATEWAY_ALLOWED_HOSTS = ["gateway.test", ".example.org"]
    for path in ("/things", "/stream", "/healthz"):
        assert (await ask(gate, http_scope("GET", path, KEY))).status == 200
        assert (await ask(gate, http_scope("GET", path, {**KEY, "Host": "a.example.org:4000"}))).status == 200
        for host in ("evil.test", "", "gateway.test.evil", "gateway.test@evil", "[::1"):
            assert (await ask(gate, http_scope("GET", path, {**KEY, "Host": host}))).error == (400, "bad_request")
    refused = await ask(gate, socket_scope("/socket", {**KEY, "Host": "evil.test"}))
    assert refused.status == 400


@pytest.mark.parametrize("host", ["a b", "a,b", "a/b", "", "a:b", "[::1", "a\tb", "ä", "<a>", "a" * 261])
@pytest.mark.parametrize("path", ["/things", "/stream", "/healthz"])
async def test_a_host_that_is_none_is_a_bad_request_on_every_path(
    gate: Gate, inner: Inner, path: str, host: str
) -> None:
    refused = await ask(gate, http_scope("GET", path, {**KEY, "Host": host}))
    assert (refused.error, refused.json["field"]) == ((400, "bad_request"), "Host")
    assert inner.scopes == []


async def test_two_hosts_are_a_bad_request(gate: Gate, inner: Inner) -> None:
    scope = http_scope("GET", "/things", KEY)
    scope["headers"].append((b"host", b"evil.test"))
    assert (await ask(gate, scope)).error == (400, "bad_request")
    assert inner.scopes == []


@pytest.mark.parametrize("host", ["gateway.test", "GATEWAY.test:4000", "127.0.0.1", "[::1]:4000", "xn--caf-dma.test."])
async def test_a_host_with_or_without_a_port_is_taken(gate: Gate, host: str) -> None:
    assert (await ask(gate, http_scope("GET", "/things", {**KEY, "Host": host}))).status == 200


@pytest.mark.parametrize("path", ["/things\x00", "/thi\x00ngs", "/admin/\x00"])
async def test_nul_in_a_path_is_an_unknown_path(gate: Gate, inner: Inner, path: str) -> None:
    assert (await ask(gate, http_scope("GET", path, KEY))).error == (404, "not_found")
    assert inner.scopes == []


async def test_nul_in_a_query_is_a_bad_request(gate: Gate, inner: Inner) -> None:
    assert (await ask(gate, http_scope("GET", "/things", KEY, query="a=%00"))).error == (400, "bad_request")
    assert inner.scopes == []


async def test_the_limit_is_counted_after_the_key_and_told_in_every_answer(gate: Gate, inner: Inner) -> None:
    remember("slow-key", replace(PRINCIPAL, rpm=2, key_id=fresh_key_id()))
    slow = {"X-API-Key": "slow-key"}
    for _ in range(5):
        await ask(gate, http_scope("GET", "/things", BAD))
    answers = [await ask(gate, http_scope("GET", "/things", slow)) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"default";q=2;w=60'}
    assert answers[2].json["error"] == "rate_limited"
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    assert (await ask(gate, socket_scope("/socket", slow))).status == 429


async def test_paths_with_buckets_of_their_own_are_not_counted(inner: Inner, limits: RateLimits, gate: Gate) -> None:
    remember("slow-key", replace(PRINCIPAL, rpm=1, key_id=fresh_key_id()))
    free = make(inner, limits, Route(path="free", application=inner, counted=False))
    for _ in range(3):
        answer = await ask(free, http_scope("GET", "/free", {"X-API-Key": "slow-key"}))
        assert answer.status == 200
        assert "ratelimit" not in answer.headers


async def test_the_clients_request_id_is_kept_when_it_is_sensible(gate: Gate) -> None:
    kept = await ask(gate, http_scope("GET", "/things", {**KEY, "X-Request-Id": "abc-1.2_3"}))
    assert kept.headers["x-request-id"] == "abc-1.2_3"
    for strange in ("x" * 65, "a b", "a\r\nx: y", ""):
        answer = await ask(gate, http_scope("GET", "/things", {**KEY, "X-Request-Id": strange}))
        assert answer.headers["x-request-id"].startswith("req_")


async def test_a_refusal_carries_a_request_id_too(gate: Gate) -> None:
    assert (await ask(gate, http_scope("GET", "/things"))).headers["x-request-id"].startswith("req_")


async def test_the_log_line_names_the_request_and_no_secret(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    answer = await ask(gate, http_scope("GET", "/things", KEY, query="api_key=good-key&token=t0ken"))
    await ask(gate, socket_scope("/socket", query="api_key=good-key"))
    line, socket = lines(caplog, "request")
    assert (line["method"], line["path"], line["status"], line["tenant"]) == ("GET", "/things", 200, "acme")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (socket["method"], socket["status"]) == ("WEBSOCKET", 101)
    assert "good-key" not in caplog.text
    assert "t0ken" not in caplog.text


async def test_an_exception_of_the_application_is_answered_with_an_id(
    gate: Gate, inner: Inner, caplog: pytest.LogCaptureFixture
) -> None:
    inner.error = RuntimeError("the password is hunter2")
    answer = await ask(gate, http_scope("GET", "/things", KEY))
    assert answer.error == (500, "internal_error")
    assert b"hunter2" not in answer.body
    assert answer.json["errorId"] == lines(caplog, "unhandled_exception")[0]["error_id"]


async def test_an_expected_error_of_a_consumer_is_rendered(gate: Gate, inner: Inner) -> None:
    inner.error = Conflict("It is taken.", field="sessionId")
    answer = await ask(gate, http_scope("GET", "/stream", KEY))
    assert answer.json == {"error": "conflict", "message": "It is taken.", "field": "sessionId"}


async def test_a_failure_in_the_middle_of_an_answer_cuts_it(gate: Gate, limits: RateLimits) -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("the password is hunter2")

    with pytest.raises(Exception, match="the log names it"):
        await ask(make(half, limits), http_scope("GET", "/stream", KEY))


async def test_a_client_that_is_gone_when_it_is_answered_is_no_failure(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    async def send_to_nobody(message: Any) -> None:
        raise OSError("closed")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    await gate(http_scope("GET", "/things", KEY), receive, send_to_nobody)
    assert [line["event"] for line in lines(caplog)] == ["request"]


@pytest.mark.parametrize(
    "scope", [http_scope("GET", "/things"), http_scope("GET", "/things", KEY), socket_scope("/socket")]
)
async def test_a_client_that_is_gone_when_it_is_refused_is_no_failure(
    gate: Gate, inner: Inner, scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    inner.error = Conflict("It is taken.")

    async def send_to_nobody(message: Any) -> None:
        raise OSError("closed")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    await gate(scope, receive, send_to_nobody)
    assert [line["event"] for line in lines(caplog)] == ["request"]


async def test_a_socket_that_fails_after_it_was_accepted_is_closed(gate: Gate, limits: RateLimits) -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        raise RuntimeError("the password is hunter2")

    answer = await ask(make(half, limits), socket_scope("/socket", KEY))
    assert answer.sent[1:] == [{"type": "websocket.close", "code": 4003}]


async def test_a_face_renders_refusals_in_its_own_shape(inner: Inner, limits: RateLimits, gate: Gate) -> None:
    gate = make(inner, limits, error_body=lambda scope, error: {"detail": error.code, "path": scope["path"]})
    for scope in (http_scope("GET", "/things"), socket_scope("/things")):
        answer = await ask(gate, scope)
        assert (answer.status, answer.json) == (401, {"detail": "unauthorized", "path": "/things"})


async def test_django_requests_at_once_are_bounded_and_streams_are_not(
    settings: Any, inner: Inner, limits: RateLimits, gate: Gate
) -> None:
    settings.GATEWAY_REQUEST_THREADS = 2
    settings.GATEWAY_TENANT_SHARE = 1.0
    narrow = make(inner, limits)
    inner.hold = asyncio.Event()
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
        requests = [group.create_task(ask(narrow, http_scope("GET", "/things", KEY))) for _ in range(5)]
        assert [await inner.entered.get() for _ in range(2)] == ["/things"] * 2
        streams = [group.create_task(ask(narrow, http_scope("GET", "/stream", KEY))) for _ in range(3)]
        probe = group.create_task(ask(narrow, http_scope("GET", "/healthz")))
        assert {await inner.entered.get() for _ in range(4)} == {"/stream", "/healthz"}
        assert len(inner.scopes) == 6
        inner.hold.set()
    assert {task.result().status for task in [*requests, *streams, probe]} == {200}
    assert inner.most_at_once == 6


async def test_a_request_that_gets_no_thread_is_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch, settings: Any, inner: Inner, limits: RateLimits, gate: Gate
) -> None:
    monkeypatch.setattr(gate_module, "WAIT_SECONDS", 0.01)
    settings.GATEWAY_REQUEST_THREADS = 1
    narrow = make(inner, limits)
    inner.hold = asyncio.Event()
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
        first = group.create_task(ask(narrow, http_scope("GET", "/things", KEY)))
        await inner.entered.get()
        assert (await ask(narrow, http_scope("GET", "/things", KEY))).error == (503, "unavailable")
        inner.hold.set()
    assert first.result().status == 200


async def test_a_slow_sender_holds_no_thread(settings: Any, inner: Inner, limits: RateLimits, gate: Gate) -> None:
    settings.GATEWAY_REQUEST_THREADS = 1
    narrow = make(inner, limits)
    stalled, finish = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        stalled.set()
        await finish.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        return

    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
        group.create_task(narrow(http_scope("POST", "/things", KEY), receive, send))
        await stalled.wait()
        assert (await ask(narrow, http_scope("GET", "/things", KEY))).status == 200
        finish.set()


async def test_a_preflight_of_an_allowed_origin_is_answered_without_a_key(
    gate: Gate, inner: Inner, settings: Any
) -> None:
    settings.GATEWAY_CORS_ORIGINS = ["https://app.test"]
    headers = {"Origin": "https://app.test", "Access-Control-Request-Method": "POST"}
    wanted = {"Access-Control-Request-Headers": "x-api-key,content-type"}
    answer = await ask(gate, http_scope("OPTIONS", "/things", {**headers, **wanted}))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "https://app.test")
    assert answer.headers["access-control-allow-headers"] == "x-api-key,content-type"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert inner.scopes == []


async def test_another_origin_is_told_nothing(gate: Gate, settings: Any) -> None:
    settings.GATEWAY_CORS_ORIGINS = ["https://app.test"]
    for origin in ("https://evil.test", "https://app.test.evil", "null", "HTTPS://APP.TEST"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for scope in (http_scope("OPTIONS", "/things", headers), http_scope("GET", "/stream", {**KEY, **headers})):
            answer = await ask(gate, scope)
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_answers_and_refusals_to_an_allowed_origin_can_be_read_by_it(gate: Gate, settings: Any) -> None:
    settings.GATEWAY_CORS_ORIGINS = ["https://app.test"]
    for headers in (KEY, BAD):
        for path in ("/things", "/stream", "/nowhere"):
            answer = await ask(gate, http_scope("GET", path, {**headers, "Origin": "https://app.test"}))
            assert answer.headers["access-control-allow-origin"] == "https://app.test"
            assert "access-control-allow-credentials" not in answer.headers


async def test_options_that_are_no_preflight_need_a_key(gate: Gate) -> None:
    assert (await ask(gate, http_scope("OPTIONS", "/things"))).status == 401
    assert (await ask(gate, http_scope("OPTIONS", "/things", {"Origin": "https://app.test"}))).status == 401


@pytest.mark.parametrize(
    ("path", "headers", "error"),
    [
        ("/socket", {}, (401, "unauthorized")),
        ("/socket", BAD, (401, "unauthorized")),
        ("/nowhere", KEY, (404, "not_found")),
    ],
)
async def test_a_refused_upgrade_is_an_http_answer(
    gate: Gate, inner: Inner, path: str, headers: dict[str, str], error: tuple[int, str]
) -> None:
    answer = await ask(gate, socket_scope(path, headers))
    assert answer.error == error
    assert {message["type"] for message in answer.sent} == {
        "websocket.http.response.start",
        "websocket.http.response.body",
    }
    assert inner.scopes == []


async def test_where_the_server_cannot_answer_a_refused_upgrade_is_closed(gate: Gate) -> None:
    answer = await ask(gate, socket_scope("/socket", BAD, denial=False))
    assert [message["type"] for message in answer.sent] == ["websocket.close"]


async def test_a_socket_brings_its_principal(gate: Gate, inner: Inner) -> None:
    await ask(gate, socket_scope("/socket", KEY))
    assert inner.scopes[0]["gateway.principal"] == PRINCIPAL


async def test_a_consumer_that_fails_ends_its_socket_only(gate: Gate, inner: Inner) -> None:
    inner.error = RuntimeError("the password is hunter2")
    answer = await ask(gate, socket_scope("/socket", KEY))
    assert answer.error == (500, "internal_error")
    assert b"hunter2" not in answer.body


async def test_a_token_is_asked_for_when_no_key_was_shown(inner: Inner, limits: RateLimits, gate: Gate) -> None:
    narrow = replace(PRINCIPAL, scopes=frozenset({"sessions"}))

    async def token_principal(scope: Scope) -> Principal | None:
        query = scope["query_string"]
        if query == b"token=stale":
            raise Unauthorized("The token has expired.")
        return narrow if query == b"token=fresh" else None

    gate = make(inner, limits, token_principal=token_principal)
    for stream in (http_scope("GET", "/stream"), socket_scope("/socket")):
        inner.scopes.clear()
        await ask(gate, {**stream, "query_string": b"token=fresh"})
        assert inner.scopes[0]["gateway.principal"] == narrow
        assert (await ask(gate, {**stream, "query_string": b"token=stale"})).status == 401
        assert (await ask(gate, {**stream, "query_string": b"token=other"})).status == 401
        inner.scopes.clear()
        await ask(gate, {**stream, "query_string": b"token=fresh", "headers": [(b"x-api-key", b"good-key")]})
        assert inner.scopes[0]["gateway.principal"] == PRINCIPAL


async def test_a_path_with_a_login_of_its_own_is_let_through(inner: Inner, limits: RateLimits, gate: Gate) -> None:
    gate = make(inner, limits, Route(path="rpc", application=inner, protocol="websocket", key="none"))
    assert (await ask(gate, socket_scope("/rpc"))).sent[0]["type"] == "websocket.accept"
    assert (await ask(gate, socket_scope("/rpc/other"))).status == 404


async def test_lifespan_passes_through(limits: RateLimits) -> None:
    seen: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await ask(make(application, limits), {"type": "lifespan"})
    assert seen == ["lifespan"]


async def test_a_tenant_takes_its_share_of_the_threads_and_one_session_its_bound(
    settings: Any, inner: Inner, limits: RateLimits, gate: Gate
) -> None:
    settings.GATEWAY_REQUEST_THREADS, settings.GATEWAY_TENANT_SHARE = 4, 0.5
    settings.GATEWAY_SESSION_THREADS, settings.GATEWAY_MAX_WAITING_REQUESTS = 1, 2
    narrow = make(inner, limits, session_of=lambda path: path)
    inner.hold = asyncio.Event()
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
        requests = [group.create_task(ask(narrow, http_scope("GET", "/things", KEY))) for _ in range(3)]
        await inner.entered.get()
        await asyncio.sleep(0)
        # Two wait for the one of their session; a third is told when to come again.
        refused = await ask(narrow, http_scope("GET", "/things", KEY))
        assert refused.error == (503, "unavailable")
        assert refused.headers["retry-after"] == "1"
        # Requests without a key have a share of their own.
        page = group.create_task(ask(narrow, http_scope("GET", "/docs")))
        assert await inner.entered.get() == "/docs"
        inner.hold.set()
    assert {task.result().status for task in [*requests, page]} == {200}


async def test_a_good_credential_in_authorization_does_not_vouch_for_another_one(
    settings: Any, inner: Inner, limits: RateLimits
) -> None:
    shown: list[str] = []

    class Recorded(FailedKeys):
        async def check(self, scope: Scope, credential: str, look_up: Any) -> Any:
            shown.append(credential)
            return await look_up()

    async def token_principal(scope: Scope) -> Principal:
        return PRINCIPAL

    gate = make(inner, limits, token_principal=token_principal)
    gate = Gate(inner, gate._paths, limits=limits, failed_keys=Recorded(limits))
    for text in ("Basic YTpi", "Basic YTpj", "Basic YTpi"):
        assert (await ask(gate, http_scope("GET", "/things", {"Authorization": text}))).status == 200
    assert len(set(shown)) == 2
