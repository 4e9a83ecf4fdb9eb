"""`manage.py reseal`: every sealed secret of the database is sealed with the present key."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from standardwebhooks.webhooks import Webhook

from core_app import sealing
from core_app.sealing import seal, unseal
from events_app.log import stream_create
from events_app.webhooks.models import WebhookEndpoint
from gateway_project.operations import doctor, secret_rotation
from gateway_project.operations.secret_rotation import RotationReport, secrets_reseal
from inference_app.models import Provider
from tenants_app.models import Tenant
from tools_app import signing
from tools_app.models import McpServer, SessionTool
from tools_app.registry import tool_attach

pytestmark = pytest.mark.django_db(transaction=True)

OLD, NEW = "old-key-of-these-tests-0123456789", "new-key-of-these-tests-0123456789"
SECRET = "whsec_" + "c2VjcmV0" * 5


@pytest.fixture
def sealed_secrets(settings: Any, tenant: Tenant) -> dict[str, Callable[[], str]]:
    """Stores a secret in every field that holds one, under the now former key; returns functions that read each."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    stream = stream_create(kind="session")
    tool = {"name": "lookup", "callbackUrl": "https://tools.example.com/", "secret": SECRET}
    tool_attach(tenant_id=tenant.pk, stream_id=stream.pk, registration=tool)
    tool_attach(tenant_id=tenant.pk, stream_id=stream.pk, registration={"name": "without"})
    hook = {"url": "https://hooks.example.com/", "events": ["agent_end"], "tenant_id": tenant.pk}
    WebhookEndpoint.objects.create(**hook, secret=seal(SECRET), former_secret=seal(SECRET))
    Provider.objects.create(name="mine", sealed_key=seal(SECRET))
    sealed = {f"sealed_{name}": seal(SECRET) for name in ("headers", "client_secret", "grant", "flow")}
    McpServer.objects.create(tenant=tenant, name="mine", url="https://mcp.example.com/", **sealed)
    tenant.settings["sealed_callback_secret"] = seal(SECRET)
    tenant.settings["max_sessions"] = 7
    tenant.save()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    return {
        "tools": lambda: SessionTool.objects.get(name="lookup").sealed_secret or "",
        "webhooks": lambda: WebhookEndpoint.objects.get().secret,
        "webhooks' former secrets": lambda: WebhookEndpoint.objects.get().former_secret or "",
        "providers": lambda: Provider.objects.get().sealed_key,
        "headers of MCP servers": lambda: McpServer.objects.get().sealed_headers or "",
        "OAuth clients of MCP servers": lambda: McpServer.objects.get().sealed_client_secret or "",
        "authorizations of MCP servers": lambda: McpServer.objects.get().sealed_grant or "",
        "begun authorizations of MCP servers": lambda: McpServer.objects.get().sealed_flow or "",
        "tenants": lambda: str(Tenant.objects.get(pk=tenant.pk).settings["sealed_callback_secret"]),
    }


def level_of(check: str) -> str:
    return next(finding.level for finding in doctor.findings() if finding.check == check)


def reseal(*arguments: str) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("reseal", *arguments, stdout=out, stderr=err)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue() + err.getvalue()
    return 0, out.getvalue() + err.getvalue()


def test_every_secret_comes_under_the_present_key(sealed_secrets: dict[str, Callable[[], str]], settings: Any) -> None:
    assert level_of("sealed secrets") == "warning"
    done = secrets_reseal()
    assert done == RotationReport(dict.fromkeys(sealed_secrets, 1), {}, len(sealed_secrets))
    settings.SECRET_KEY_FALLBACKS = []
    assert {name: unseal(read()) for name, read in sealed_secrets.items()} == dict.fromkeys(sealed_secrets, SECRET)
    assert Tenant.objects.get(slug="acme").settings["max_sessions"] == 7
    assert secrets_reseal() == RotationReport({}, {}, len(sealed_secrets))
    assert level_of("sealed secrets") == "ok"


def test_no_room_seals_what_the_command_does_not_know() -> None:
    fields = [
        f"{model._meta.label}.{field.name}"
        for app in ("tenants_app", "events_app", "inference_app", "tools_app", "sessions_app", "responses_app")
        for model in apps.get_app_config(app).get_models()
        for field in model._meta.get_fields()
        if "sealed" in field.name or field.name.endswith("secret")
    ]
    assert sorted(fields) == [
        "events_app.WebhookEndpoint.former_secret",
        "events_app.WebhookEndpoint.secret",
        "inference_app.Provider.sealed_key",
        "tools_app.McpServer.sealed_client_secret",
        "tools_app.McpServer.sealed_flow",
        "tools_app.McpServer.sealed_grant",
        "tools_app.McpServer.sealed_headers",
        "tools_app.SessionTool.sealed_secret",
    ]


def test_a_dry_run_changes_nothing(sealed_secrets: dict[str, Callable[[], str]]) -> None:
    before = {name: read() for name, read in sealed_secrets.items()}
    code, output = reseal("--dry-run")
    assert (code, output.split(" (")[0]) == (0, "9 of 9 secrets are under a former key")
    assert {name: read() for name, read in sealed_secrets.items()} == before


def test_what_no_key_opens_is_counted_and_ends_with_1(
    sealed_secrets: dict[str, Callable[[], str]], settings: Any
) -> None:
    Provider.objects.update(sealed_key="nonsense")
    code, output = reseal()
    assert code == 1
    assert "1 cannot be opened by any key (1 of providers)" in output
    assert "8 of 9 secrets were sealed anew" in output
    assert level_of("sealed secrets") == "wrong"


def test_a_secret_that_somebody_sets_meanwhile_is_not_overwritten(
    sealed_secrets: dict[str, Callable[[], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reseal_text = sealing.reseal

    def meanwhile(text: str) -> str | None:
        Provider.objects.update(sealed_key=seal("newer"))
        tenant = Tenant.objects.get(slug="acme")
        tenant.settings["sealed_callback_secret"] = seal("newer")
        tenant.save()
        return reseal_text(text)

    monkeypatch.setattr(secret_rotation, "reseal", meanwhile)
    secrets_reseal()
    assert unseal(sealed_secrets["providers"]()) == unseal(sealed_secrets["tenants"]()) == "newer"


def test_secrets_are_read_in_pages(
    sealed_secrets: dict[str, Callable[[], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        Provider.objects.create(name=f"p{number}", sealed_key=seal(SECRET))
    monkeypatch.setattr(secret_rotation, "PAGE", 2)
    assert secrets_reseal(dry=True).all == 14
    assert secrets_reseal(dry=True, most=3).all == 11


def test_callbacks_of_a_tenant_without_a_secret_are_signed_with_the_former_key_too(
    settings: Any, tenant: Tenant
) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    [before] = signing.tenant_secrets(tenant)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    present, former = signing.tenant_secrets(tenant)
    assert former == before != present
    headers = signing.signature_headers(using=[present, former], message_id="call_1", body="{}")
    for secret in (present, former):
        Webhook(secret).verify("{}", headers)


def test_the_address_for_a_late_result_stays_what_it_was(settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    token = signing.result_token("call_1")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    assert signing.result_token("call_1", signing.token_hash(token)) == token
    assert signing.result_token("call_1") != token
