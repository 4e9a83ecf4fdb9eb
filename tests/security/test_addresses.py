"""Private and odd addresses, in every spelling, at every door through which a tenant names one: none is reached."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.core.test_guarded_client import REFUSED_HOSTS
from tests.gateway_harness import Client
from tests.shared_gateway import HERE, api, gateway, owner, tenant, transactional_db

__all__ = ["api", "gateway", "owner", "tenant", "transactional_db"]

pytestmark = HERE

ODD = [
    "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL",
    "https://user:password@127.0.0.1/", "https://example.com\\@127.0.0.1/", "https://127.0.0.1#@example.com/",
    "https://example.com:0/", "https://[::1/", "https://127.0.0.1\t/", "https://%31%32%37.0.0.1/", "https://127%2e0.0.1/",
    "https://①②⑦.⓪.⓪.①/", "https://0/", "https://0x0/", "https://[::ffff:7f00:1]/", "https://[fe80::1%25lo]/",
    "https://[::ffff:10.0.0.1]/", "https://[64:ff9b::a00:1]/", "https://[fec0::1]/", "https://[fd12:3456::1]/",
    "https://[::2]/", "https://203.0.113.5/", "https://198.51.100.7/", "https://192.0.2.1/",
    "https://127.255.255.254/", "https://10.255.255.255/", "https://172.31.255.255/", "https://100.127.255.255/",
    "https://sub.localhost./", "https://x.internal/", "https://192.168.255.255/",
    "https://localhost:4000/metrics", "https://127.0.0.1:5432/", "https://127.0.0.1:6379/",
]  # fmt: skip
URLS = [*(f"https://{host}/" for host in REFUSED_HOSTS), *ODD]


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that a socket of this process connects to, in the test's loop or in a thread."""
    found: list[Any] = []
    connect = socket.socket.connect

    def record(self: socket.socket, address: Any) -> None:
        found.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", record)
    return found


async def test_there_are_as_many_addresses_as_were_tried() -> None:
    assert len(set(URLS)) >= 79


async def test_no_address_inside_becomes_a_callback(api: Client) -> None:
    session = await api.session()
    for url in URLS:
        answer = await api.post(f"/v1/sessions/{session}/tools", {"name": "lookup", "callbackUrl": url})
        assert (answer.status, answer.field) == (400, "callbackUrl"), url
    assert (await api.get(f"/v1/sessions/{session}/tools")).json == {"tools": []}


async def test_no_address_inside_becomes_a_webhook(api: Client) -> None:
    for url in URLS:
        answer = await api.post("/v1/webhooks", {"url": url, "events": ["agent_end"]})
        assert (answer.status, answer.field) == (400, "url"), url
    assert (await api.get("/v1/webhooks")).json["webhooks"] == []


async def test_no_page_inside_is_fetched(api: Client, connected: list[Any]) -> None:
    session = await api.session(tools=["fetch_url"])
    for url in URLS:
        answer = await api.post(f"/v1/sessions/{session}/tools/fetch_url/test", {"args": {"url": url}})
        assert answer.status == 400 or answer.json["status"] == "error", url
    assert [address for address in connected if _is_outgoing(address)] == []


async def test_no_attachment_inside_is_read(api: Client, connected: list[Any]) -> None:
    session = await api.session()
    for url in URLS:
        part = {"type": "image", "mediaType": "image/png", "url": url}
        answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "look", "attachments": [part]})
        if answer.status == 202:
            run = await api.follow_run(session, answer.json["requestId"])
            assert run["status"] == "failed", url
        else:
            assert answer.status in (400, 422), url
    assert [address for address in connected if _is_outgoing(address)] == []


def _is_outgoing(address: Any) -> bool:
    """False for the databases of the distributed deployment, and for what the event loop itself connects."""
    return isinstance(address, tuple) and address[1] not in (5432, 6379)
