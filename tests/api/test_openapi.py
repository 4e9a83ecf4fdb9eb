"""The document itself: valid, whole, and shown without anything from elsewhere."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import URLPattern, URLResolver
from drf_spectacular.validation import validate_schema

from edge_app.gate import PathTable
from faces.acp.face import FACE as ACP
from faces.agentbus.face import FACE as AGENTBUS
from faces.codelab.face import FACE as CODELAB
from faces.inference.openapi import DOCUMENT as INFERENCE
from faces.inference.routes import _FIXED
from faces.mesh.face import FACE as MESH
from faces.native import urls
from faces.native.face import FACE
from faces.native.openapi.operations import OPERATIONS
from faces.native.socket.actions import ACTIONS
from faces.platform.face import FACE as PLATFORM
from gateway_project.http.faces import faces
from gateway_project.http.own_pages import PROBES
from gateway_project.openapi import document
from sessions_app.events import SESSION_EVENTS
from tests.api.contract import Contract

UNSAFE_ASSET = re.compile(r"""(?:src|href)=["'](?!/)|https?://""")


def template(pattern: URLPattern | URLResolver) -> str:
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))


def model_gateway_paths() -> dict[str, Any]:
    """The documented paths whose operations have a tag of the inference face."""
    paths = document()["paths"]
    return {
        path: item
        for path, item in paths.items()
        if any(not set(operation["tags"]).isdisjoint(INFERENCE.tags) for operation in item.values())
    }


def test_the_document_is_valid_openapi() -> None:
    validate_schema(document())


def test_every_schema_in_it_can_be_used(contract: Contract) -> None:
    for name in contract.components["schemas"]:
        contract.validator({"$ref": f"#/components/schemas/{name}"})


def test_every_path_is_documented_and_no_other() -> None:
    served = (FACE, PLATFORM, AGENTBUS, CODELAB, MESH, ACP)
    views = {template(pattern) for face in served for pattern in face.urls}
    routes = (*PROBES, *(route for face in served for route in face.consumers))
    consumers = {template(route.pattern()) for route in routes}
    assert set(document()["paths"]) - set(model_gateway_paths()) == views | consumers


STORED = ("/cancel", "/input_items")
_COMPLETIONS = (
    "/v1/background/{background_id}",
    "/v1/chat/completions/{completion_id}",
    "/v1/messages/{message_id}",
)
TALKS = ("", "/items", "/items/{item_id}")


def test_every_path_of_the_model_gateway_is_documented_and_no_other() -> None:
    documented, table = model_gateway_paths(), PathTable(faces())
    fixed = {name for name in _FIXED if "{" not in name}
    stored = {
        f"/v1/responses{rest}"
        for rest in ("", "/compact", "/input_tokens", *(f"/{{response_id}}{end}" for end in ("", *STORED)))
    }
    talks = {f"/v1/conversations{rest}" for rest in ("", *(f"/{{conversation_id}}{end}" for end in TALKS))}
    completions = {f"{path}{end}" for path in _COMPLETIONS for end in ("", "/cancel")}
    assert fixed | stored | talks | completions | {"/v1/models/{model_id}", "/model-gateway/health/{provider}"} == set(
        documented
    )
    for path, item in documented.items():
        assert table.find(path.replace("{", "").replace("}", "")).face.name in ("inference", "responses")
        if path in _FIXED:
            assert {method.upper() for method in item} == set(_FIXED[path])


def test_errors_of_the_model_gateway_are_in_the_dialect_of_its_clients(contract: Contract) -> None:
    for path, error in (("/v1/chat/completions", "OpenAIError"), ("/v1/messages", "AnthropicError")):
        answers = contract.operation("POST", path).described["responses"]
        assert {"400", "401", "402", "404", "429", "502", "503"} <= set(answers)
        for status in ("400", "502"):
            assert answers[status]["content"]["application/json"]["schema"]["$ref"].endswith(f"/{error}")


def test_every_action_of_every_viewset_is_in_the_table_and_no_other() -> None:
    actions = {
        (vars(pattern.callback)["cls"], action)
        for pattern in urls.urlpatterns
        for action in vars(pattern.callback)["actions"].values()
    }
    assert set(OPERATIONS) == actions


def test_operations_have_ids_of_their_own(contract: Contract) -> None:
    names = [operation.name for operation in contract.operations()]
    assert len(set(names)) == len(names)


def test_every_operation_parameter_and_answer_says_what_it_is(contract: Contract) -> None:
    document = contract.document
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (method, path)
            for parameter in operation.get("parameters", ()):
                assert "$ref" in parameter or parameter.get("description"), (method, path, parameter["name"])
            for status, answer in operation["responses"].items():
                assert "$ref" in answer or answer["description"], (method, path, status)


def test_every_event_type_has_its_schema() -> None:
    schemas = document()["components"]["schemas"]
    listed = [schemas[item["$ref"].rpartition("/")[2]] for item in schemas["Event"]["oneOf"]]
    types = {item["properties"]["event"]["const"] for item in listed}
    assert types == set(SESSION_EVENTS.events) | {"events_dropped"}


def test_every_action_of_the_socket_is_described() -> None:
    socket = document()["paths"]["/v1/sessions/{session_id}/ws"]["get"]["x-websocket"]
    actions = {frame["allOf"][0]["properties"]["action"]["const"] for frame in socket["receives"]["oneOf"]}
    assert actions == {*ACTIONS, "ping"}
    assert {"4000", "4001", "4500", "4501", "4502", "4002", "4003"} <= set(socket["closeCodes"])


def test_what_makes_something_takes_an_idempotency_key(contract: Contract) -> None:
    honoured = {
        operation.name
        for operation in contract.operations()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.described.get("parameters", ()))
    }
    of_sessions = {"createSession", "forkSession", "prompt", "registerTool"}
    of_agentbus = {"agentbusCreateSession", "agentbusSend"}
    of_webhooks = {"createWebhook", "rotateWebhookSecret", "testWebhook"}
    names = ("SubmitTask", "Pipeline", "CreateSpace", "AddMessage", "RegisterAgent", "EventToken")
    of_mesh = {f"mesh{name}{version}" for name in names for version in ("", "V1")}
    of_keys = {"issueKey", "rotateKey"}
    of_platform = {"createTenant", "issueTenantKey", "rotateTenantKey", "createUser"}
    assert honoured == of_sessions | of_agentbus | of_webhooks | of_mesh | of_platform | of_keys | {"createMcpServer"}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/start.js"])
def test_the_document_and_its_pages_need_no_key(client: Client, path: str) -> None:
    assert client.get(path).status_code == HTTPStatus.OK
    assert client.head(path).status_code == HTTPStatus.OK
    assert client.post(path).status_code == HTTPStatus.METHOD_NOT_ALLOWED


def test_the_document_is_not_sent_twice(client: Client) -> None:
    first = client.get("/openapi.json")
    assert first.json() == document()
    again = client.get("/openapi.json", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (HTTPStatus.NOT_MODIFIED, b"")


def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/docs")
    assert UNSAFE_ASSET.search(page.content.decode()) is None
    assert "default-src 'none'" in page["Content-Security-Policy"]
    assert "<script>" not in page.content.decode()
    for asset in re.findall(r'(?:src|href)="/static/([^"]+)"', page.content.decode()):
        assert finders.find(asset) is not None


def test_a_field_that_is_not_documented_is_noticed(contract: Contract) -> None:
    schema = {"$ref": "#/components/schemas/SteerReceipt"}
    contract.validate(schema, {"requestId": "run_1", "sessionId": "a"}, "a receipt")
    with pytest.raises(AssertionError):
        contract.validate(schema, {"requestId": "run_1", "sessionId": "a", "more": 1}, "a receipt")
