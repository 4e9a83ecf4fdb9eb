"""Bad input is refused with its field, changes nothing, and is never a server error."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_asyncio

from core_app import database
from faces.native import serializers, session_serializers
from sessions_app.models import AgentSession, Run
from tests.gateway_harness import Client
from tests.sessions.test_access import ENDPOINTS, body_for, fill_route
from tests.shared_gateway import HERE, api, gateway, owner, tenant, transactional_db

__all__ = ["api", "gateway", "owner", "tenant", "transactional_db"]

pytestmark = HERE

WRITING = [(method, route) for method, route in ENDPOINTS if method in ("POST", "PATCH", "PUT")]
WITH_BODY = [(method, route) for method, route in WRITING if not route.endswith("/stream-token")]
NOT_JSON = {
    "truncated": b'{"text": "hel',
    "array": b"[]",
    "string": b'"text"',
    "number": b"1",
    "null": b"null",
    "nan": b'{"text": NaN}',
    "infinity": b'{"text": -Infinity}',
    "trailing": b'{"text": "a"} {}',
    "single quotes": b"{'text': 'a'}",
    "not utf-8": b'{"text": "\xff\xfe"}',
    "utf-16": '{"text": "a"}'.encode("utf-16"),
    "deep array": b'{"text": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep object": b'{"text": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
    "huge integer": b'{"text": ' + b"9" * 10_000 + b"}",
}
FIELDS = {
    "": session_serializers.SessionCreateSerializer,
    "prompt": serializers.PromptSerializer,
    "steer": serializers.SteerSerializer,
    "switch_model": serializers.SwitchModelSerializer,
    "approve": serializers.ApproveSerializer,
    "reject": serializers.RejectSerializer,
    "respond": serializers.RespondSerializer,
    "abort": serializers.AbortSerializer,
    "fork": serializers.ForkSerializer,
    "tool-results": serializers.ToolResultSerializer,
    "patch": session_serializers.SessionPatchSerializer,
}
ANY_JSON = {("tool-results", "result")}
ODD: dict[str, Any] = {
    "true": True,
    "integer": 7,
    "float": 1.5,
    "negative": -1,
    "huge": 10**40,
    "exponent": 1e308,
    "array": [[1]],
    "object": {"a": {"b": None}},
    "deep": json.loads("[" * 60 + "]" * 60),
    "blank": "",
    "nul": "a\x00b",
    "surrogate": "a\ud800b",
    "long": "x" * 300_000,
    "strange": "../../etc/passwd\r\nX-Evil: 1\u2028",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(api: Client) -> tuple[str, str]:
    """Creates a session with a finished run, for requests that are refused."""
    return await place_made(api)


async def place_made(api: Client) -> tuple[str, str]:
    session = await api.session()
    run = await api.run(session, "hello")
    return session, str(run["requestId"])


@pytest.mark.parametrize(("method", "route"), WITH_BODY)
async def test_a_body_that_is_no_json_object_is_refused(
    api: Client, place: tuple[str, str], method: str, route: str
) -> None:
    for kind, body in NOT_JSON.items():
        answer = await api.ask(method, fill_route(route, *place), body=body)
        assert answer.status == 400, (kind, answer.body[:300])
        assert answer.json["error"] == "bad_request", kind


@pytest.mark.parametrize(("method", "route"), WITH_BODY)
async def test_another_media_type_is_refused(api: Client, place: tuple[str, str], method: str, route: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await api.ask(method, fill_route(route, *place), body=b"text=hello", headers=headers)
    assert answer.status == 415, answer.body


@pytest.mark.parametrize(("method", "route"), WRITING)
async def test_an_empty_body_is_an_empty_object(api: Client, method: str, route: str) -> None:
    place = await place_made(api)
    empty = await api.ask(method, fill_route(route, *place), body=b"")
    assert empty.status < 500
    if body_for(method, route) and not route.endswith("/test"):
        assert empty.status == 400
        assert empty.field is not None


@pytest.mark.parametrize("verb", FIELDS)
async def test_a_field_of_another_type_is_refused_by_its_name_or_taken_as_it_is(api: Client, verb: str) -> None:
    """Sends every field of every body with every odd value, which is refused by name or comes back unchanged."""
    session, _ = await place_made(api)
    method = "PATCH" if verb == "patch" else "POST"
    path = "/v1/sessions" if verb == "" else f"/v1/sessions/{session}" + ("" if verb == "patch" else f"/{verb}")
    base = {"model": "demo:echo"} if verb == "" else dict(body_for("POST", verb))
    for name, field in FIELDS[verb]().fields.items():
        for kind, value in ODD.items():
            answer = await api.ask(method, path, {**base, name: value})
            said = f"{verb}.{name} = {kind}: {answer.status} {answer.body[:200]!r}"
            assert answer.status < 500, said
            if answer.status == 400 and value != "":
                assert answer.field is not None, said
                assert answer.field.split(".")[0] == name, said
            wrong = not isinstance(value, str) and "String" in type(field).__name__
            if wrong and (verb, name) not in ANY_JSON:
                assert answer.status == 400, said
            if isinstance(value, str | bool | list) and "Object" in type(field).__name__:
                assert answer.status == 400, said


@pytest.mark.parametrize("value", [5, 1.5, True])
@pytest.mark.parametrize("name", ["sessionId", "groupId"])
async def test_an_id_that_is_no_text_is_refused(api: Client, name: str, value: Any) -> None:
    answer = await api.post("/v1/sessions", {"model": "demo:echo", name: value})
    assert (answer.status, answer.field) == (400, name)


@pytest.mark.parametrize("value", ["", "a b", "ä", "x" * 65, "a/b", "a\n", "..", "a\x00"])
async def test_an_id_of_other_characters_is_refused(api: Client, value: str) -> None:
    answer = await api.post("/v1/sessions", {"model": "demo:echo", "sessionId": value})
    assert (answer.status, answer.field) == (400, "sessionId")


async def test_a_prompts_text_is_stored_clean_and_comes_back(api: Client) -> None:
    session = await api.session()
    run = await api.run(session, "nul \x00, lone \ud800, 漢 🎈")
    assert run["lastMessage"]["content"] == "nul \ufffd, lone \ufffd, 漢 🎈"


async def test_user_data_comes_back_as_it_was_given(api: Client) -> None:
    data = {"z": 1, "a": [1.5, None, True, {"deep": "ü"}], "big": 2**53 + 1}
    session = await api.session(userData=data)
    given = (await api.get(f"/v1/sessions/{session}")).json["userData"]
    assert given == data
    assert list(given) == list(data)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=few", "limit"),
        ("limit=-1", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=99999999999999999999", "cursor"),
        ("state=asleep", "state"),
        ("since=yesterday", "since"),
        ("since=2024-13-45", "since"),
        ("since=0001-01-01T00:00:00%2B23:00", "since"),
        ("since=9999-12-31T23:59:59-23:00", "since"),
    ],
)
async def test_a_list_with_a_bad_parameter_is_refused_by_its_name(api: Client, query: str, field: str) -> None:
    answer = await api.get(f"/v1/sessions?{query}")
    assert answer.error == (400, "bad_request")
    assert answer.field == field


@pytest.mark.parametrize("wait", ["x", "-1", "61", "nan", "inf", "1e9"])
async def test_a_wait_that_is_no_number_of_seconds_is_refused(api: Client, wait: str) -> None:
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/prompt?wait={wait}", {"text": "hello"})
    assert (answer.status, answer.field) == (400, "wait")
    assert await database.run(Run.objects.filter(session__public_id=session).count) == 0


async def test_a_body_above_the_limit_is_too_large(api: Client, settings: Any) -> None:
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/steer", {"text": "x" * (settings.GATEWAY_MAX_BODY_BYTES + 1)})
    assert answer.error == (413, "payload_too_large")


@pytest.mark.parametrize("path", ["/v1/sessions/a%00b", f"/v1/sessions/{'x' * 5000}", "/v1//sessions"])
async def test_an_odd_path_is_not_found(api: Client, path: str) -> None:
    assert (await api.get(path)).status == 404


async def test_nothing_was_made_by_what_was_refused(api: Client) -> None:
    before = await database.run(AgentSession.objects.count)
    for body in NOT_JSON.values():
        await api.ask("POST", "/v1/sessions", body=body)
    assert await database.run(AgentSession.objects.count) == before
