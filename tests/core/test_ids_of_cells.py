"""Ids and secrets of a cell begin with its code, whatever they name, and a proxy finds it in each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from core_app.ids import MAX_PREFIX, new_id, new_secret
from gateway_project.configuration.checks import values
from tenants_app.secret import secret_new, secret_prefix
from tools_app.signing import result_token, token_hash

ROOT = Path(django_settings.BASE_DIR)
PRODUCT = ("core_app", "tenants_app", "admin_app", "events_app", "edge_app", "inference_app", "tools_app", "agents_app",
           "sessions_app", "responses_app", "faces", "gateway_project")  # fmt: skip

NOT_STORED = {"chatcmpl"}
"""Prefixes of ids that are in responses only: OpenAI's, whose length is not the gateway's to choose."""

WIDER_COLUMN = {"space"}
"""Prefixes of ids whose columns have 64 characters: AgentMesh's, which its clients know."""

RANDOM_ELSEWHERE = {
    "core_app/ids.py": "makes them",
    "gateway_project/configuration/environment.py": "the secret key, which never leaves the machine",
    "tenants_app/services/bootstrap.py": "a person's password",
    "tenants_app/management/commands/user.py": "a person's password",
    "faces/platform/views/users.py": "a person's password",
    "inference_app/providers/state_sync.py": "the name of this process in Redis",
    "inference_app/relay/observers.py": "the name of this process in the ledger",
    "events_app/webhooks/signing.py": "a signing secret in the form of Standard Webhooks, which is never sent",
    "faces/agentbus/connection.py": "a nonce, good for one connection",
    "faces/mesh/artifacts.py": "the name of a file in the storage, which is never sent",
}
"""Modules that make random texts by themselves, and what these are."""

ROUTED = re.compile(r"[a-z]+_(?P<cell>[a-z0-9]{1,8})_(?:[0-9a-z]{26}|[A-Za-z0-9_-]{43})\Z")


@pytest.fixture(autouse=True)
def _cell(settings: Any) -> None:
    settings.GATEWAY_CELL = "eu1"


def modules() -> Iterator[tuple[str, ast.Module]]:
    for room in PRODUCT:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def prefixes() -> set[str]:
    """Every prefix with which an id is made."""
    found = set()
    for _, module in modules():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and _name(node.func) in ("new_id", "_new_id", "random_id"):
                found |= {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
    return {prefix for prefix in found if isinstance(prefix, str)}


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_every_id_has_the_code_and_fits_into_its_column() -> None:
    found = prefixes()
    assert {"ses", "run", "call", "msg", "whk", "req", "err", "apr", "ask"} <= found
    for prefix in found:
        made = ROUTED.match(new_id(prefix))
        assert made is not None
        assert made["cell"] == "eu1"
        assert prefix in NOT_STORED | WIDER_COLUMN or len(prefix) <= MAX_PREFIX, (
            f"ids of '{prefix}' do not fit into 40 characters"
        )


def test_the_longest_code_fits(settings: Any) -> None:
    settings.GATEWAY_CELL = "abcdefgh"
    assert len(new_id("x" * MAX_PREFIX)) == 40


def test_nobody_else_makes_ids_or_secrets() -> None:
    makers = ("token_urlsafe", "token_hex", "token_bytes", "uuid4", "uuid7", "uuid1")
    found = {
        name
        for name, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and _name(node.func) in makers
    }
    assert found == RANDOM_ELSEWHERE.keys()


@pytest.mark.parametrize("made", ["key", "token", "result"])
def test_every_secret_has_the_code(made: str) -> None:
    secrets = {"key": secret_new(), "token": new_secret("agt"), "result": result_token("call_1")}
    match = ROUTED.match(secrets[made])
    assert match is not None
    assert match["cell"] == "eu1"


def test_without_a_cell_nothing_is_added(settings: Any) -> None:
    settings.GATEWAY_CELL = ""
    assert re.match(r"run_[0-9a-z]{26}\Z", new_id("run"))
    assert re.match(r"agw_[A-Za-z0-9_-]{43}\Z", secret_new())
    assert re.match(r"[A-Za-z0-9_-]{43}\Z", result_token("call_1"))


def test_an_address_for_a_late_result_stays_the_same_when_the_cell_gets_its_code(settings: Any) -> None:
    settings.GATEWAY_CELL = ""
    before = result_token("call_1")
    settings.GATEWAY_CELL = "eu1"
    assert result_token("call_1") != before
    assert result_token("call_1", token_hash(before)) == before


def test_a_key_is_recognised_behind_what_all_keys_begin_with(settings: Any) -> None:
    secret = secret_new()
    assert secret_prefix(secret) == secret[:16]
    settings.GATEWAY_CELL = "abcdefgh"
    assert len(secret_prefix(secret_new())) == 4 + 9 + 8 <= 24
    assert secret_prefix(f"agw_{'k' * 43}") == "agw_kkkkkkkk"
    assert secret_prefix("my-key-of-31-characters-in-total") == "my-key-of-"


@pytest.mark.parametrize(
    ("cell", "wrong"), [("", False), ("eu1", False), ("EU1", True), ("e_1", True), ("a" * 9, True)]
)
def test_a_code_that_a_proxy_could_not_tell_is_refused(settings: Any, cell: str, wrong: bool) -> None:
    settings.GATEWAY_CELL = cell
    assert [message.id for message in values(None) if message.id == "gateway.E022"] == ["gateway.E022"] * wrong


def test_the_documented_map_of_nginx_finds_the_code_and_takes_no_key_without_one() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    patterns = [
        re.compile(pattern.replace("(?<", "(?P<")) for pattern in re.findall(r'^    "~(\^.*)" \$of_\w+;$', text, re.M)
    ]
    assert len(patterns) == 4
    key, token, result = secret_new(), new_secret("agt"), f"/v1/callbacks/{result_token('call_1')}"
    shown = [[key], [f"Bearer {key}"], [key, token, new_secret("agc")], [result]]
    for pattern, texts in zip(patterns, shown, strict=True):
        for each in texts:
            found = pattern.match(each)
            assert found is not None
            assert set(found.groupdict().values()) == {"eu1"}
    # 43 characters may have an underscore, too.
    assert not any(pattern.match(f"agw_ab1_{'x' * 39}") for pattern in patterns)
