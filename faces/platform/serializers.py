"""Request bodies of the platform face: shapes and limits. Services make the decisions.

Fields of the API are in camelCase. Settings of tenants and fields of a provider's `entry` have the names that they have
in docs/configuration.md, so that they can be copied from there and from files.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core_app.errors import BadRequest
from core_app.jsontext import clean_text
from core_app.suggestion import suggestion
from edge_app.rest.fields import JSONObject, StrictBoolean, StrictDecimal, StrictInstant, StrictInteger, StrictString
from inference_app.models import Budget
from tenants_app.principal import SCOPES

MAX_RPM = 2**31 - 1
MAX_TOKENS = 2**63 - 1
_PRICE: dict[str, Any] = {"max_digits": 14, "decimal_places": 6, "min_value": 0}


class StrictSerializer(serializers.Serializer[Any]):
    """A body whose unknown fields are refused by name: a field with a typo would otherwise be lost in silence."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := next((name for name in data if name not in self.fields), None)):
            name = clean_text(str(unknown))[:100]
            near, there = suggestion(name, self.fields), ", ".join(self.fields)
            raise BadRequest(f"'{name}' is not a field.{near} There are: {there}.", field=name)
        return super().to_internal_value(data)


class TenantPutSerializer(StrictSerializer):
    """A whole tenant: what is left out has its default."""

    name = StrictString(required=False, max_length=200, help_text="For people. By default the slug.")
    settings = JSONObject(required=False, default=dict, help_text="What is left out has the gateway's default.")
    disabled = StrictBoolean(required=False, default=False, help_text="None of its keys works while this is true.")


class TenantCreateSerializer(TenantPutSerializer):
    """A new tenant."""

    slug = StrictString(max_length=63, help_text="Its name in paths: lower-case letters, digits, `-` and `_`.")


class TenantPatchSerializer(StrictSerializer):
    """Changes: fields that are left out stay. A setting that is null goes back to the gateway's default."""

    name = StrictString(required=False, max_length=200, help_text="For people.")
    settings = JSONObject(required=False, help_text="Settings that are not named stay as they are.")
    disabled = StrictBoolean(required=False, help_text="None of its keys works while this is true.")


def _scopes(**options: Any) -> serializers.ListField:
    return serializers.ListField(
        child=StrictString(max_length=40),
        max_length=len(SCOPES),
        help_text="What the key may do: docs/protocol-native.md, “Keys, errors, limits”.",
        **options,
    )


class TenantKeyPatchSerializer(StrictSerializer):
    """Changes: fields that are left out stay."""

    name = StrictString(required=False, max_length=100, help_text="For people, and in audit entries.")
    scopes = _scopes(required=False)
    rpm = StrictInteger(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_RPM,
        help_text="Requests per minute; 0 is no limit, null is GATEWAY_RATE_LIMIT_RPM.",
    )
    expiresAt = StrictInstant(required=False, allow_null=True, source="expires_at", help_text="Null: never.")


class TenantKeyCreateSerializer(TenantKeyPatchSerializer):
    """A new key."""

    name = StrictString(max_length=100, help_text="For people, and in audit entries.")
    scopes = _scopes()


class UserPatchSerializer(StrictSerializer):
    """Changes: fields that are left out stay."""

    disabled = StrictBoolean(required=False, help_text="True: the person cannot sign in.")
    password = StrictString(required=False, max_length=200, help_text="The new one; sessions of the former end.")


class UserCreateSerializer(StrictSerializer):
    """A person who signs in to the admin and the console."""

    username = StrictString(max_length=150, help_text="Letters, digits and @ . + - _.")
    password = StrictString(
        required=False, max_length=200, help_text="Without it one is made, and shown in the response alone."
    )
    tenant = StrictString(required=False, allow_null=True, max_length=63, help_text="The slug; null for operators.")
    role = serializers.ChoiceField(
        ["superuser", "staff", "console"],
        required=False,
        default="console",
        help_text="`superuser` runs the gateway, `staff` may sign in to the admin, `console` to the console only.",
    )
    scopes = _scopes(required=False, default=list)


class ProviderPutSerializer(StrictSerializer):
    """The part of a provider that the database has. Fields that `entry` leaves out stay as the file or the gateway has
    them."""

    entry = JSONObject(
        required=False,
        default=dict,
        max_bytes=64 * 1024,
        help_text="Fields of a provider as in `config/gateway.yaml`.",
    )
    key = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=4000,
        help_text="Stored encrypted and never shown. Left out: the stored one stays. Null: it is forgotten.",
    )
    enabled = StrictBoolean(required=False, default=True, help_text="False: nothing is sent there.")


class PricePutSerializer(StrictSerializer):
    """US dollars per million tokens."""

    input = StrictDecimal(**_PRICE, help_text="Input tokens.")
    output = StrictDecimal(**_PRICE, help_text="Output tokens.")
    cached = StrictDecimal(
        **_PRICE, required=False, allow_null=True, help_text="Input from the provider's cache. Null: as `input`."
    )
    cacheWrite = StrictDecimal(
        **_PRICE,
        required=False,
        allow_null=True,
        source="cache_write",
        help_text="Input that is written to the cache. Null: 1.25 times `input`.",
    )
    cacheWriteHour = StrictDecimal(
        **_PRICE,
        required=False,
        allow_null=True,
        source="cache_write_hour",
        help_text="The same, kept for an hour. Null: 2 times `input`.",
    )


class BudgetPutSerializer(StrictSerializer):
    """The budget of a tenant or of one of its keys, for all models or one, per period. `tokens`, `usd` or both."""

    tenant = StrictString(max_length=63, help_text="The slug.")
    key = StrictString(required=False, allow_null=True, max_length=40, help_text="A key's `id`. Null: all together.")
    model = StrictString(
        required=False, allow_null=True, allow_blank=True, max_length=200, help_text="Null: all models together."
    )
    period = serializers.ChoiceField([name for name, _ in Budget.PERIODS], help_text="Of UTC.")
    tokens = StrictInteger(
        required=False, allow_null=True, min_value=0, max_value=MAX_TOKENS, help_text="In and out together."
    )
    usd = StrictDecimal(**_PRICE, required=False, allow_null=True, help_text="Of models whose price is known.")
