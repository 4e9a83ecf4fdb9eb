"""Fuzzing: no request of any caller makes the server fail or respond outside the document.

Schemathesis makes valid and invalid requests from the document, which are sent over the network: a valid one has to be
accepted, an invalid one refused, a missing key noticed. Streams are fuzzed by hand: tests wait for their heads only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies
from schemathesis.config import SchemathesisConfig
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi import checks

from gateway_project.openapi import document
from tests.api.served import Served, gateway_served

THOROUGH = os.environ.get("GATEWAY_TEST_FUZZ") == "thorough"
"""Runs minutes instead of seconds: more requests, new ones every time, and one for every boundary in the document."""

EXAMPLES = 100 if THOROUGH else 10
CONFIG = Path(__file__).parent / "schemathesis.toml"
"""The checks, and what is left out with its reason; the command line of Schemathesis reads the same file."""

INTERNAL_KEY = "key-between-services-of-these-tests"
OF_OTHERS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
"""Checks of responses to callers who do not get past their key: a valid body is refused for that reason."""

SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not THOROUGH,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)

TWICE = [
    operation["operationId"]
    for path, item in document()["paths"].items()
    for operation in item.values()
    if operation["operationId"].startswith("mesh") and path.startswith("/v1/")
]
"""Paths that are there twice, with the same code behind both."""

configuration = SchemathesisConfig.from_path(CONFIG)
configuration.projects.default.phases.coverage.enabled = THOROUGH
operations = from_dict(document(), config=configuration).exclude(operation_id=TWICE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # With a default agent: a task that nobody can take is answered 503, as the protocol says.
    config = tmp_path_factory.mktemp("configuration") / "gateway.yaml"
    config.write_text("agents: [{id: echo, type: model, model: 'demo:echo'}]\nrouting: {defaultAgent: echo}\n")
    with gateway_served(
        tmp_path_factory.mktemp("fuzzed"),
        CONFIG=str(config),
        INTERNAL_API_KEY=INTERNAL_KEY,
        FAILED_KEYS_PER_MINUTE="1000000",
    ) as server:
        yield server


@pytest.fixture
def session_id(server: Served) -> str:
    """A session of the owner with a finished run."""
    with server.client() as client:
        made = client.post("/v1/sessions", json={"model": "demo:echo", "groupId": "fuzzed"})
        name = str(made.json()["sessionId"])
        assert client.post(f"/v1/sessions/{name}/prompt?wait=60", json={"text": "hello"}).status_code == 200
    return name


@pytest.mark.timeout(600)
@operations.parametrize()
@SETTINGS
def test_no_request_is_answered_outside_the_document(
    case: schemathesis.Case[Any], server: Served, session_id: str
) -> None:
    places: list[dict[str, Any]] = [{}]
    if "session_id" in (case.path_parameters or {}):
        places.append({"session_id": session_id})
    # Only the owner's response depends on the session; the others do not get past their key.
    sent = [("owner", place) for place in places] + [(who, places[-1]) for who in ("colleague", "stranger")]
    with requests.Session() as http:
        for who, place in sent:
            case.path_parameters.update(place)
            given = {**dict(case.headers or {}), "X-API-Key": server.keys[who]}
            response = case.call(base_url=server.url, headers=given, session=http)
            case.validate_response(response, checks=None if who == "owner" else OF_OTHERS, headers=given)


NUMBERS = strategies.one_of(strategies.integers(-2, 2**70).map(str), strategies.text(max_size=20))
QUERIES = strategies.fixed_dictionaries(
    {},
    optional={
        "since": NUMBERS,
        "limit": NUMBERS,
        "types": strategies.text(max_size=40),
        "follow": strategies.one_of(strategies.just("session"), strategies.text(max_size=8)),
        "requestId": strategies.text(max_size=50),
        "format": strategies.one_of(strategies.just("json"), strategies.text(max_size=8)),
        "token": strategies.text(max_size=50),
        "taskId": strategies.text(max_size=50),
        "spaceId": strategies.text(max_size=50),
    },
)
LAST_IDS = strategies.one_of(strategies.none(), strategies.text(strategies.characters(codec="latin-1"), max_size=20))


@pytest.mark.timeout(600)
@hypothesis.settings(SETTINGS, max_examples=60)
@hypothesis.given(query=QUERIES, last_id=LAST_IDS, who=strategies.sampled_from(["owner", "colleague", "stranger"]))
@pytest.mark.parametrize("path", ["/v1/sessions/{session_id}/events", "/v1/groups/{group_id}/events", "/events"])
def test_no_stream_begins_outside_the_document(
    path: str, server: Served, session_id: str, query: dict[str, str], last_id: str | None, who: str
) -> None:
    described = document()["paths"][path]["get"]["responses"]
    # The client refuses to send white space around a value.
    sent = last_id.strip() if last_id and last_id.isprintable() else ""
    headers = {b"Last-Event-ID": sent.encode("latin-1")} if sent else {}
    target = path.format(session_id=session_id, group_id="fuzzed")
    with server.client(who) as client, client.stream("GET", target, params=query, headers=headers) as answer:
        assert answer.status_code < 500
        assert str(answer.status_code) in described
        if answer.status_code == 200:
            assert answer.headers["content-type"].partition(";")[0] in described["200"]["content"]
