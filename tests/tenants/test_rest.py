"""The base of REST viewsets: credentials, scopes, strict JSON, and every failure in the native error body."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.conftest import Caller
from tests.tenants.logged import lines

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.tenants.urls")]

JSON = "application/json"


def post(client: Client, path: str, who: Caller, body: bytes, content_type: str = JSON, **headers: str) -> Any:
    return client.post(path, body, content_type=content_type, headers={**who.headers, **headers})


def test_a_view_knows_the_tenant_of_the_key(client: Client, owner: Caller, stranger: Caller) -> None:
    assert client.get("/echo", headers=owner.headers).json() == {"tenant": "acme"}
    assert client.get("/echo", headers=stranger.headers).json() == {"tenant": "rival"}


def test_a_request_without_a_key_is_refused_and_told_how_to_send_one(client: Client, owner: Caller) -> None:
    answer = client.get("/echo")
    assert answer.status_code == 401
    assert answer.json()["error"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_in_the_query_of_a_request_is_not_accepted(client: Client, owner: Caller) -> None:
    assert client.get(f"/echo?api_key={owner.secret}").status_code == 401


def test_a_missing_scope_is_forbidden_by_name(client: Client, owner: Caller, colleague: Caller) -> None:
    assert client.delete("/echo", headers=owner.headers).status_code == 204
    answer = client.delete("/echo", headers=colleague.headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert "'admin'" in answer.json()["message"]
    assert client.get("/echo", headers=colleague.headers).status_code == 200


def test_a_wrong_method_is_405_whatever_the_scope(client: Client, colleague: Caller) -> None:
    answer = client.put("/things", headers=colleague.headers)
    assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("accept", ["text/event-stream", "text/html", "nonsense", ""])
def test_accept_is_not_looked_at(client: Client, owner: Caller, accept: str) -> None:
    answer = client.get("/echo?format=xml", headers={**owner.headers, "Accept": accept})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, JSON)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_wrong_media_type_is_415(client: Client, owner: Caller, content_type: str) -> None:
    answer = post(client, "/echo", owner, b"{}", content_type)
    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", ""])
def test_json_is_taken_under_its_usual_names(client: Client, owner: Caller, content_type: str) -> None:
    assert post(client, "/echo", owner, b'{"a":1}', content_type).json() == {"data": {"a": 1}}


def test_an_empty_body_is_an_empty_object(client: Client, owner: Caller) -> None:
    assert post(client, "/echo", owner, b"").json() == {"data": {}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":',
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e400}',
        b'{"a":[-1E999]}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":1}x',
        b'"\xed\xa0\x80"',
    ],
)
def test_what_is_not_strict_json_is_a_bad_request(client: Client, owner: Caller, body: bytes) -> None:
    answer = post(client, "/echo", owner, body)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


def test_nul_and_lone_surrogates_are_replaced(client: Client, owner: Caller) -> None:
    answer = post(client, "/echo", owner, rb'{"a\ud800":"b\u0000c\udfff"}')
    assert answer.json() == {"data": {"a\ufffd": "b\ufffdc\ufffd"}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "text"),
        (b'{"text":null}', "text"),
        (b'{"text":""}', "text"),
        (b'{"text":{"a":1}}', "text"),
        (b'{"text":"x","max_turns":"many"}', "maxTurns"),
        (b'{"text":"x","max_turns":101}', "maxTurns"),
        (b'{"text":"x","items":[{"role_name":"user"},{"role_name":"{}"}]}', "items.1.roleName"),
        (b'{"text":"x","items":7}', "items"),
    ],
)
def test_a_validation_error_names_the_first_failing_field(
    client: Client, owner: Caller, body: bytes, field: str
) -> None:
    answer = post(client, "/things", owner, body)
    assert answer.status_code == 400
    assert answer.json()["error"] == "bad_request"
    assert answer.json()["field"] == field
    assert f"'{field}'" in answer.json()["message"]


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null", b"true"])
def test_a_body_that_is_no_object_is_a_bad_request(client: Client, owner: Caller, body: bytes) -> None:
    answer = post(client, "/things", owner, body)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


def test_an_unknown_exception_is_logged_under_an_id_and_never_shown(
    client: Client, owner: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.get("/failing", headers=owner.headers)
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert b"hunter2" not in answer.content
    [line] = lines(caplog, "unhandled_exception")
    assert line["error_id"] == answer.json()["errorId"]
    assert "hunter2" in str(line["exc_info"])


def test_djangos_own_404_has_the_native_body(client: Client, owner: Caller) -> None:
    assert client.get("/missing", headers=owner.headers).json()["error"] == "not_found"
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_a_failure_outside_rest_has_the_native_body() -> None:
    client = Client(raise_request_exception=False)
    answer = client.get("/crash")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert answer.json()["errorId"].startswith("err_")
    assert b"hunter2" not in answer.content
