"""Texts that try to become something else where they are read: a line of the log, an event, a Python object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core_app import database
from core_app.config_file import ConfigurationError
from core_app.errors import GatewayError
from inference_app.catalogue.config import MODELS, models_config
from sessions_app.export import session_export
from sessions_app.models import AgentSession
from tenants_app.models import ApiKey, AuditEntry
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness, api, gateway
from tests.tenants.logged import lines

__all__ = ["api", "gateway"]

HOSTILE = [
    "a\r\nlevel=error event=forged", "a\n{\"event\":\"forged\"}", "a\x0bforged", "a\x0cforged", "a\x85forged",
    "a\u2028forged", "a\x1b[2Kforged", "a\x00forged", "a\nid: 7\nevent: agent_end\ndata: {}\n\n",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_path_and_a_header_forge_no_line(
    gateway: GatewayHarness,
    api: Client,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    await api.get(f"/v1/sessions/{text}", headers={"User-Agent": "x", "X-Request-Id": text.encode().hex()})
    await api.get(f"/v1/sessions?x={text}", headers={"Referer": "x"})
    shown = capsys.readouterr().err
    for line in filter(None, shown.split("\n")):
        assert json.loads(line)["event"] != "forged"
    assert not {"\x1b", "\x00", "\x0b"} & set(shown)
    assert all(line["event"] != "forged" for line in lines(caplog))


@pytest.mark.parametrize("text", HOSTILE)
async def test_what_is_said_forges_no_event(gateway: GatewayHarness, api: Client, text: str) -> None:
    session = await api.session(title=text.replace("\x00", ""))
    request = await api.prompt(session, text)
    async with api.events(session, since=0, requestId=request) as reader:
        frames = await reader.read_to_end()
    assert [frame.id for frame in frames] == list(range(frames[0].id, frames[0].id + len(frames)))
    assert [frame.event for frame in frames].count("agent_end") == 1
    assert frames[-1].event == "agent_end"
    assert b"\r" not in reader.raw
    assert b"\nid: 7\nevent: agent_end" not in reader.raw.partition(b"event: prompt_received")[0]


@pytest.mark.parametrize(
    "document",
    [
        "models: !!python/object/apply:os.system ['true']",
        "models: !!python/object/new:os.system ['true']",
        "models: !!python/name:os.system",
        "models: !!python/module:os",
        "models: !!binary aGVsbG8=",
        "models: &a [*a]",
    ],
)
def test_a_configuration_file_makes_no_objects(settings: Any, tmp_path: Path, document: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(document, encoding="utf-8")
    settings.GATEWAY_CONFIG = path
    MODELS.forget()
    try:
        with pytest.raises((ConfigurationError, GatewayError)):
            models_config()
    finally:
        MODELS.forget()


async def test_no_secret_is_in_the_export_the_metrics_or_the_audit_trail(
    gateway: GatewayHarness, api: Client, owner: Caller
) -> None:
    session = await api.session()
    secret = "whsec_" + "QUJD" * 8
    tool = {"name": "lookup", "callbackUrl": "https://example.com/", "secret": secret}
    assert (await api.post(f"/v1/sessions/{session}/tools", tool)).status == 201
    hook = (await api.post("/v1/webhooks", {"url": "https://example.com/", "events": ["agent_end"]})).json
    await api.run(session, "hello")
    exported = await database.run(_export, session)
    metrics = (await api.get("/metrics")).body.decode()
    audit = await database.run(lambda: str(list(AuditEntry.objects.values())))
    digest = (await database.run(ApiKey.objects.get, pk=owner.principal.key_id)).secret_hash
    for text in (exported, metrics, audit):
        for hidden in (owner.secret, digest, secret, hook["secret"]):
            assert hidden not in text


def _export(session: str) -> str:
    return b"".join(session_export(AgentSession.objects.get(public_id=session))).decode()
