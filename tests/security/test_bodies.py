"""Odd bodies, queries and ids at every operation of every face: an error of the client's, never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway_harness import Client
from tests.security.operations import UNKNOWN, Operation, operations
from tests.shared_gateway import HERE, api, gateway, owner, tenant, transactional_db

__all__ = ["api", "gateway", "owner", "tenant", "transactional_db"]

pytestmark = HERE

NESTED = 2_000
ODD = [
    b"", b" ", b"null", b"true", b"0", b"-0", b'""', b"[]", b"[{}]", b"{", b"}", b"{}x", b"{'a':1}", b"{a:1}",
    b'{"a":1,}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e400}', b'{"a":' + b"9" * 400 + b"}", b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00", b"\x00", b"\xff", b'{"a":"\\ud800"}', b'{"a":"\\u0000"}', b'{"a":"\x00"}',
    b'{"a":"\xc3\x28"}',
    b'{"__proto__":{"a":1}}', b'{"model":{"$ne":1}}', b'{"text":["x"]}', b'{"text":{"a":1},"model":[],"messages":{}}',
    b"[" * NESTED + b"]" * NESTED, b'{"a":' * NESTED + b"1" + b"}" * NESTED,
    b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>", b"a=1&b=2", b"--x\r\n\r\n--x--",
    b"!!python/object/apply:os.system ['true']", b'{"model":"nobody:x","messages":"x","input":7,"max_tokens":-1}',
    b'{"model":"' + b"m" * 10_000 + b'","messages":[],"input":[]}', b'{"limit":1e308,"text":"x","args":"y"}',
]  # fmt: skip
QUERIES = [
    "limit=-1", "limit=1e9", "limit=%00", "since=99999999999999999999", "since=-1", "cursor=x", "cursor=%ff%fe",
    "format=../../etc/passwd", "state[]=idle", "limit=1&limit=2", "=", "&&&", "%", "%zz", "a" * 2_000, "since=%C0%AE",
    "groupId=%00", "since=2020-99-99", "from=x&to=y", "by=__class__", "types=" + "a," * 500, "order=id;DROP TABLE x",
]  # fmt: skip

WRITING = [one for one in operations() if one.method in ("POST", "PATCH", "DELETE")]
READING = [one for one in operations() if one.method == "GET"]
BETWEEN_SERVICES = {"X-Internal-Auth": "of-a-runtime"}
"""The key of an agent runtime: without it, an endpoint of runtimes alone reads no body."""


@pytest.fixture(autouse=True)
def _runtimes(settings: Any) -> None:
    settings.GATEWAY_INTERNAL_API_KEY = ["of-a-runtime:acme"]


@pytest.mark.parametrize("operation", WRITING, ids=str)
async def test_an_odd_body_is_the_clients_error(api: Client, operation: Operation) -> None:
    session = await api.session()
    path = operation.path({**UNKNOWN, "session_id": session})
    for body in ODD:
        answer = await api.ask(operation.method, path, body=body, headers=BETWEEN_SERVICES)
        assert answer.status < 500, body[:60]
        _check_shape(answer.body)


@pytest.mark.parametrize(
    "media_type", ["text/xml", "application/x-yaml", "multipart/form-data; boundary=x", "\x00", "json"]
)
async def test_an_odd_media_type_is_the_clients_error(api: Client, media_type: str) -> None:
    for operation in WRITING:
        headers = {"content-type": media_type, **BETWEEN_SERVICES}
        answer = await api.ask(operation.method, operation.path(), body=b"{}", headers=headers)
        assert answer.status < 500, str(operation)
        _check_shape(answer.body)


@pytest.mark.parametrize("operation", READING, ids=str)
async def test_an_odd_query_is_the_clients_error(api: Client, operation: Operation) -> None:
    for query in QUERIES:
        # An unknown session's stream, or an unknown parameter: a stream that exists would not end.
        of_nobody = "&taskId=nobodys" if operation.template.endswith(("/events", "/activity")) else ""
        answer = await api.get(f"{operation.path()}?{query}{of_nobody}")
        assert answer.status < 500 or operation.template == "/readyz", query
        if operation.template != "/metrics":  # which counts the errors of other tests by their codes
            _check_shape(answer.body)


@pytest.mark.parametrize("name", sorted(UNKNOWN))
async def test_an_odd_id_is_the_clients_error(api: Client, name: str) -> None:
    odd: list[Any] = [
        "%00",
        "..",
        "%2e%2e",
        "a" * 3_000,
        "\u202e",
        "'",
        '"',
        "<x>",
        "$(id)",
        "{}",
        "0",
        "-1",
        "%ff",
        "ﬀ",
    ]
    for operation in operations():
        if name in operation.parameters:
            for value in odd:
                path = operation.path({**UNKNOWN, name: value})
                answer = await api.ask(operation.method, path, {}, headers=BETWEEN_SERVICES)
                assert answer.status < 500, (str(operation), value)
                _check_shape(answer.body)


def _check_shape(body: bytes) -> None:
    """No traceback, path or name of a class is told."""
    for word in (b"Traceback", b"site-packages", b"internal_error", b".py", b"psycopg", b"sqlite3"):
        assert word not in body
    if body.startswith(b"{"):
        json.loads(body)
