"""Shapes of responses for the OpenAPI document. They render nothing; `faces.platform.wire` makes the values."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference_app.models import Budget
from inference_app.operator.providers_in_force import SOURCES
from inference_app.providers.health import STATES
from tenants_app.principal import SCOPES
from tenants_app.selectors.api_key import KEY_STATES
from tenants_app.tenant_settings import TENANT_SETTINGS

_TYPES = {bool: "boolean", int: "integer", str: "string", dict: "object"}

SETTINGS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        setting.name: {"type": _TYPES[setting.kind], "description": setting.help}
        | ({"additionalProperties": {}} if setting.kind is dict else {})
        for setting in TENANT_SETTINGS
    },
    "additionalProperties": {},
}

ENTRY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "As in the configuration file, below `models.providers.<name>` (docs/configuration.md).",
    "properties": {
        "base_url": {"description": "Its address, with `/v1` where it speaks OpenAI's wire."},
        "wire": {"description": "`openai-chat` (the default), `openai-responses` or `anthropic`."},
        "api_key_env": {"description": "The variable with its key, in place of a key that is stored here."},
        "api_key": {"description": "`none` for a provider that needs no key."},
        "default_model": {"description": "The model of requests that name the provider alone."},
        "models": {"description": "Its models: names, or objects with `id`, `context_window`, `capabilities`, …"},
        "headers": {"description": "Further headers of requests. Values are shown as `…`, which keeps the stored one."},
        "timeout": {"description": "Seconds, or an object with `connect`, `first_byte`, `idle` and `total`."},
    },
    "additionalProperties": {},
}


@extend_schema_field(SETTINGS_SCHEMA)
class TenantSettings(serializers.JSONField):
    """Settings by their names in docs/configuration.md."""


@extend_schema_field(ENTRY_SCHEMA)
class ProviderEntryValue(serializers.JSONField):
    """A provider's entry."""


@extend_schema_field({"type": "object", "additionalProperties": {}})
class AuditDetail(serializers.JSONField):
    """The change."""


def text(help_text: str, **options: Any) -> serializers.CharField:
    """Returns a string field with its sentence."""
    return serializers.CharField(allow_blank=True, help_text=help_text, **options)


def moment(help_text: str, **options: Any) -> serializers.DateTimeField:
    """Returns a field of ISO 8601 in UTC, with milliseconds."""
    return serializers.DateTimeField(help_text=help_text, **options)


def cursor() -> serializers.CharField:
    """Returns the field of pages that leads to the next one."""
    return text("`cursor` of the next page; null on the last one.", allow_null=True)


class PlatformTenantSerializer(serializers.Serializer[Any]):
    """A tenant."""

    slug = text("Its name in paths; it never changes.")
    name = text("For people.")
    disabled = serializers.BooleanField(help_text="None of its keys works while this is true.")
    settings = TenantSettings(help_text="What differs from the gateway's defaults.")
    createdAt = moment("When it was created.")


class PlatformTenantPageSerializer(serializers.Serializer[Any]):
    """The oldest first."""

    tenants = PlatformTenantSerializer(many=True, help_text="The tenants of this page.")
    nextCursor = cursor()


class TenantErasedSerializer(serializers.Serializer[Any]):
    """The result of an erasure. Repeat the request until it is complete."""

    slug = text("The tenant. It stays, disabled, because its ledger and audit trail do.")
    sessionsErased = serializers.IntegerField(help_text="Sessions that this request erased.")
    complete = serializers.BooleanField(help_text="False: sessions are left, because the request took its time.")


class PlatformKeySerializer(serializers.Serializer[Any]):
    """An API key without its secret."""

    id = text("Its name in paths. It stays when the secret is rotated.")
    tenant = text("The tenant's slug.")
    name = text("For people, and in audit entries.")
    prefix = text("The beginning of the secret, by which people recognise it.")
    state = serializers.ChoiceField(KEY_STATES, help_text="Only active keys work.")
    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPES), help_text="What it may do.")
    rpm = serializers.IntegerField(
        allow_null=True, help_text="Requests per minute; 0 is no limit, null is GATEWAY_RATE_LIMIT_RPM."
    )
    seeded = serializers.BooleanField(help_text="True: it comes from GATEWAY_API_KEYS and is changed there.")
    createdAt = moment("When it was issued.")
    expiresAt = moment("Null: never.", allow_null=True)
    revokedAt = moment("Set once it is revoked.", allow_null=True)
    lastUsedAt = moment("About when it was last used.", allow_null=True)


class PlatformKeyIssuedSerializer(PlatformKeySerializer):
    """A key with its new secret, which is not shown again."""

    secret = text("`agw_…`, for `X-API-Key`. Only this response has it.")


class PlatformKeyPageSerializer(serializers.Serializer[Any]):
    """The oldest first."""

    keys = PlatformKeySerializer(many=True, help_text="The keys of this page.")
    nextCursor = cursor()


class PlatformUserSerializer(serializers.Serializer[Any]):
    """A person."""

    username = text("The name with which the person signs in.")
    tenant = text("The tenant whose rows the person sees; null for operators.", allow_null=True)
    role = serializers.ChoiceField(
        ["superuser", "staff", "console"], help_text="Runs the gateway, signs in to the admin, or to the console only."
    )
    scopes = serializers.ListField(child=serializers.CharField(), help_text="What the person may do in the tenant.")
    disabled = serializers.BooleanField(help_text="True: the person cannot sign in.")
    createdAt = moment("When the person was added.")
    lastSignInAt = moment("Null: not yet.", allow_null=True)


class PlatformUserCreatedSerializer(PlatformUserSerializer):
    """A new person, with the password where the gateway made it."""

    password = text("Only where the request named none; only this response has it.", required=False)


class PlatformUserPageSerializer(serializers.Serializer[Any]):
    """The oldest first."""

    users = PlatformUserSerializer(many=True, help_text="The people of this page.")
    nextCursor = cursor()


class StoredProviderSerializer(serializers.Serializer[Any]):
    """The part of a provider that the database has."""

    entry = ProviderEntryValue(help_text="As it was sent; the values of headers are not shown.")
    enabled = serializers.BooleanField(help_text="False: nothing is sent there.")


class PlatformProviderSerializer(serializers.Serializer[Any]):
    """A provider in force."""

    name = text("The part before the colon in `provider:model`.")
    sources = serializers.ListField(
        child=serializers.ChoiceField(SOURCES), help_text="Where it comes from; the first takes precedence."
    )
    state = serializers.ChoiceField(STATES, help_text="As the process that answers knows it, without a request.")
    reason = text("The state in words.")
    wire = text("The API that it speaks.")
    baseUrl = text("Its address; null for the demo.", allow_null=True)
    defaultModel = text("Null: it has none.", allow_null=True)
    models = serializers.ListField(child=serializers.CharField(), help_text="The models that are listed.")
    keyFrom = text("`stored`, or the variable with its key; null where it needs none.", allow_null=True)
    stored = StoredProviderSerializer(allow_null=True, help_text="What PUT saved; null where the database has nothing.")


class PlatformProviderListSerializer(serializers.Serializer[Any]):
    """In the order in which the gateway prefers them."""

    providers = PlatformProviderSerializer(many=True, help_text="All of them.")


class ProviderTestedSerializer(serializers.Serializer[Any]):
    """The result of a test."""

    ok = serializers.BooleanField(help_text="True: it answered.")
    message = text("A sentence: how long it took, or what is wrong and what to do.")


class PlatformPriceSerializer(serializers.Serializer[Any]):
    """US dollars per million tokens."""

    provider = text("The provider's name.")
    model = text("The model's name there.")
    input = serializers.FloatField(help_text="Input tokens.")
    output = serializers.FloatField(help_text="Output tokens.")
    cached = serializers.FloatField(allow_null=True, help_text="Input from the cache; null: as `input`.")
    cacheWrite = serializers.FloatField(allow_null=True, help_text="Input written to it; null: 1.25 times `input`.")
    cacheWriteHour = serializers.FloatField(allow_null=True, help_text="Kept for an hour; null: 2 times `input`.")


class PlatformPricePageSerializer(serializers.Serializer[Any]):
    """The oldest first."""

    prices = PlatformPriceSerializer(many=True, help_text="The prices of this page.")
    nextCursor = cursor()


class PlatformBudgetSerializer(serializers.Serializer[Any]):
    """A budget."""

    id = text("Its name in paths.")
    tenant = text("The tenant's slug.")
    key = text("The `id` of one of its keys; null: all together.", allow_null=True)
    model = text("Null: all models together.", allow_null=True)
    period = serializers.ChoiceField([name for name, _ in Budget.PERIODS], help_text="Of UTC.")
    tokens = serializers.IntegerField(allow_null=True, help_text="In and out together; null: not limited.")
    usd = serializers.FloatField(allow_null=True, help_text="US dollars; null: not limited.")


class PlatformBudgetPageSerializer(serializers.Serializer[Any]):
    """The oldest first."""

    budgets = PlatformBudgetSerializer(many=True, help_text="The budgets of this page.")
    nextCursor = cursor()


class PlatformAuditEntrySerializer(serializers.Serializer[Any]):
    """An act."""

    at = moment("When.")
    tenant = text("Null: it was about the whole gateway.", allow_null=True)
    actor = text("`key:<name>`, `user:<name>`, `command line`, `system`.")
    action = text("`noun.verb`, such as `tenant.update`.")
    target = text("What it was done to.")
    detail = AuditDetail(help_text="What was changed; never a secret.")


class PlatformAuditPageSerializer(serializers.Serializer[Any]):
    """The newest first."""

    entries = PlatformAuditEntrySerializer(many=True, help_text="The entries of this page.")
    nextCursor = cursor()
