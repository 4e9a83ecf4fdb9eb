"""Registering tools: what is refused and by which field, replacing, removing, and what is never shown."""

from __future__ import annotations

from typing import Any

import pytest

from core_app.errors import BadRequest, Conflict, NotFound, Unprocessable
from core_app.sealing import unseal
from tests.tools.conftest import Session
from tools_app import operator_rules, registry
from tools_app.models import SessionTool

pytestmark = pytest.mark.django_db

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", "1st"),
        ("name", "two words"),
        ("name", "x" * 65),
        ("name", "new\n"),
        ("name", "ask_user"),
        ("name", "demo_approval"),
        ("name", "mcp__files__read"),
        ("name", 7),
        ("description", 7),
        ("description", "x" * 8001),
        ("parameters", []),
        ("parameters", {"type": "array"}),
        ("callbackUrl", "http://example.com/"),
        ("callbackUrl", "https://127.0.0.1/"),
        ("callbackUrl", 7),
        ("callbackUrl", "https://example.com/\ud800"),
        ("callbackUrl", "https://exam\ud800ple.com/"),
        ("timeoutMs", 99),
        ("timeoutMs", 600_001),
        ("timeoutMs", "1000"),
        ("timeoutMs", True),
        ("timeoutMs", 1000.5),
        ("requiresApproval", "yes"),
        ("hint", ["x"]),
        ("secret", "plain"),
        ("secret", "whsec_short"),
        ("secret", "whsec_" + "!" * 40),
        ("secret", 7),
        ("idempotent", 1),
    ],
)
def test_a_wrong_field_is_refused_by_name(session: Session, field: str, value: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        session.attach(**{field: value})
    assert refused.value.field == field
    assert session.types() == []


def test_a_refused_address_names_the_setting_that_allows_it(session: Session) -> None:
    with pytest.raises(BadRequest) as refused:
        session.attach(callbackUrl="https://10.0.0.1/")
    assert "GATEWAY_CALLBACK_ALLOW_PRIVATE" in refused.value.message


def test_a_tool_is_given_back_with_its_defaults_and_without_its_secret(session: Session) -> None:
    made = session.attach(callbackUrl="https://example.com/hook", secret=SECRET)
    (listed,) = registry.tools_list(session.stream_id)
    assert listed == made
    assert "secret" not in made
    made.pop("createdAt")
    assert made == {
        "name": "lookup",
        "description": "",
        "parameters": {"type": "object"},
        "callbackUrl": "https://example.com/hook",
        "timeoutMs": 30_000,
        "requiresApproval": False,
        "hint": None,
        "idempotent": True,
    }
    assert SECRET not in str(SessionTool.objects.get().sealed_secret)


def test_the_same_name_again_replaces_the_tool(session: Session) -> None:
    session.attach(description="old", requiresApproval=True)
    session.attach(description="new")
    (listed,) = registry.tools_list(session.stream_id)
    assert (listed["description"], listed["requiresApproval"]) == ("new", False)
    assert session.types() == ["tool_attached", "tool_attached"]


def test_a_client_does_not_replace_the_operators_tool(session: Session) -> None:
    registry.tool_attach(
        tenant_id=session.tenant.pk, stream_id=session.stream_id, registration={"name": "lookup"}, origin="operator"
    )
    with pytest.raises(Conflict):
        session.attach()
    with pytest.raises(Conflict):
        registry.tool_detach(stream_id=session.stream_id, name="lookup")
    registry.tool_detach(stream_id=session.stream_id, name="lookup", origin="operator")


def test_a_removed_tool_is_gone_and_an_unknown_one_not_found(session: Session, other_session: Session) -> None:
    session.attach()
    with pytest.raises(NotFound):
        registry.tool_detach(stream_id=other_session.stream_id, name="lookup")
    registry.tool_detach(stream_id=session.stream_id, name="lookup")
    assert registry.tools_list(session.stream_id) == []
    with pytest.raises(NotFound):
        registry.tool_detach(stream_id=session.stream_id, name="lookup")
    assert session.types() == ["tool_attached", "tool_detached"]


def test_a_session_has_a_bounded_number_of_tools(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_TOOLS", 2)
    session.attach("one")
    session.attach("two")
    session.attach("two")
    with pytest.raises(Conflict):
        session.attach("three")


def test_the_model_is_told_of_built_ins_and_registered_tools(session: Session) -> None:
    session.attach("zeta", parameters={"properties": {"a": {"type": "string"}}})
    specs = registry.tool_specs(session.stream_id, ["current_time", "ask_user"])
    assert [spec.name for spec in specs] == ["current_time", "ask_user", "zeta"]
    assert specs[-1].parameters["properties"] == {"a": {"type": "string"}}


@pytest.mark.parametrize("names", [["rm_rf"], ["demo_approval"], ["mcp:none"], [7], [["ask_user"]], [None]])
def test_only_the_operators_built_ins_can_be_named(names: list[Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        registry.builtins_check(names)
    assert refused.value.field == "tools"


def test_the_operator_decides_which_built_ins_there_are(settings: Any, tmp_path: Any) -> None:
    assert registry.builtins_check(["ask_user", "fetch_url", "ask_user"]) == ("ask_user", "fetch_url")
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text("tools: {builtins: [ask_user]}\nmcp: {files: {command: [x]}}")
    assert registry.builtins_check(["ask_user", "mcp:files"]) == ("ask_user", "mcp:files")
    with pytest.raises(BadRequest):
        registry.builtins_check(["fetch_url"])


@pytest.mark.parametrize(
    "text", ["tools: [", "tools: 7", "tools: {builtins: [x]}", "tools: {approvals: {a: b}}", "mcp: {files: 7}"]
)
def test_a_mistake_in_the_configuration_is_named(settings: Any, tmp_path: Any, text: str) -> None:
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text(text)
    with pytest.raises(Unprocessable) as refused:
        registry.builtins_check(["ask_user"])
    assert "GATEWAY_CONFIG" in refused.value.message


def test_a_secret_sealed_under_another_key_says_so(session: Session, settings: Any) -> None:
    session.attach(secret=SECRET)
    sealed = str(SessionTool.objects.get().sealed_secret)
    assert unseal(sealed) == SECRET
    settings.SECRET_KEY = "another"
    with pytest.raises(Unprocessable):
        unseal(sealed)


def test_a_mistake_in_a_running_gateway_leaves_the_last_good_rules(settings: Any, tmp_path: Any) -> None:
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text("tools: {builtins: [ask_user]}\nmcp: {files: {command: [x]}}")
    assert operator_rules.builtins_allowed() == ("ask_user", "mcp:files")
    good_tools, good_mcp = "tools: {builtins: [ask_user]}", "mcp: {files: {command: [x]}}"
    for text in ("tools: [", f"tools: {{builtins: [x]}}\n{good_mcp}", f"{good_tools}\nmcp: {{files: 7}}"):
        settings.GATEWAY_CONFIG.write_text(text)
        # Reads the file now rather than up to a second later.
        operator_rules.TOOLS.refresh()
        operator_rules.MCP.refresh()
        assert operator_rules.builtins_allowed() == ("ask_user", "mcp:files")
