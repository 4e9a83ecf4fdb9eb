"""Methods, headers and paths as HTTP and the vendors' clients expect them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_project.asgi import application
from tests.faces.inference.conftest import RelayClient
from tests.gateway_harness import GatewayHarness, _scope

METHODS = {
    "/v1/chat/completions": "POST",
    "/v1/embeddings": "POST",
    "/v1/messages": "POST",
    "/v1/messages/count_tokens": "POST",
    "/v1/responses": "POST",
    "/v1/responses/resp_1": "DELETE, GET, HEAD",
    "/v1/responses/resp_1/cancel": "POST",
    "/v1/models": "GET, HEAD",
    "/v1/models/hello": "GET, HEAD",
    "/model-gateway/health": "GET, HEAD",
    "/model-gateway/stats": "GET, HEAD",
}


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_method_that_a_path_has_not_is_told_which_it_has(relay: RelayClient, path: str, method: str) -> None:
    async with relay.open_request(path, None, method=method) as heard:
        await heard.until(lambda: heard.ended)
    assert (heard.status, heard.headers["allow"]) == (405, METHODS[path])


async def raw_headers(method: str, path: str, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await application(_scope(method, path, headers), receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], [(name.decode(), value.decode()) for name, value in sent[0]["headers"]], body


@pytest.mark.parametrize("path", [path for path, methods in METHODS.items() if "HEAD" in methods])
async def test_head_is_get_without_its_body(relay: RelayClient, path: str) -> None:
    status, headers, body = await raw_headers("HEAD", path, relay._headers)
    got_status, got_headers, got = await raw_headers("GET", path, relay._headers)
    assert (status, body) == (got_status, b"")
    if path != "/model-gateway/stats":
        assert dict(headers)["content-length"] == str(len(got))
    assert [name for name, _ in headers] == [name for name, _ in got_headers]


async def test_healthz_tells_its_methods_once(gateway: GatewayHarness) -> None:
    status, headers, _ = await raw_headers("PUT", "/healthz", {})
    assert status == 405
    assert [value for name, value in headers if name == "allow"] == ["GET, HEAD"]


@pytest.mark.parametrize("path", ["/v1/responses/compact", "/v1/responses/input_tokens"])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_paths_that_are_not_served_are_no_ids(relay: RelayClient, path: str, method: str) -> None:
    async with relay.open_request(path, {} if method == "POST" else None, method=method) as heard:
        await heard.until(lambda: heard.ended)
    assert (heard.status, heard.json["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "more"),
    [("/v1/messages", {}), ("/v1/messages/count_tokens", {}), ("/v1/models", {"anthropic_version": "x"})],
)
async def test_anthropics_clients_find_the_requests_id_in_every_answer(
    relay: RelayClient, path: str, more: dict[str, str]
) -> None:
    for client in (RelayClient(None), relay):
        heard = await client.post(path, b"{", **more)
        assert heard.status in (400, 401, 405)
        assert heard.headers["request-id"] == heard.headers["x-request-id"]


async def test_openais_clients_get_no_header_of_anthropics(relay: RelayClient) -> None:
    heard = await RelayClient(None).post("/v1/chat/completions", b"{")
    assert (heard.status, "request-id" in heard.headers) == (401, False)


async def test_browsers_may_read_the_headers_of_the_relay(relay: RelayClient, settings: Any) -> None:
    settings.GATEWAY_CORS_ORIGINS = ["https://app.example"]
    heard = await relay.post("/v1/messages", {"model": "scripted:hello", "messages": []}, origin="https://app.example")
    exposed = {name.strip().lower() for name in heard.headers["access-control-expose-headers"].split(",")}
    ours = {name for name in heard.headers if name.startswith("x-gateway-")}
    assert {"request-id", "x-request-id", "retry-after", "retry-after-ms", "link"} | ours <= exposed
