"""The admin's form of a tenant: a typed field per setting. An empty field means the gateway's default.

Settings that this version does not know, because a newer one wrote them, stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from tenants_app.jwt_issuers import CLAIMS
from tenants_app.models import Tenant
from tenants_app.tenant_settings import SETTINGS, TENANT_SETTINGS, TenantSetting

_JWT_TEXTS = ("issuer", "audience", "jwks_url")
_JWT_FIELDS: Mapping[str, tuple[str, str]] = {
    "jwt_issuer": ("Issuer", "The “iss” of its tokens. Empty: the tenant has no issuer of its own."),
    "jwt_audience": ("Audience", "The “aud” of its tokens."),
    "jwt_jwks_url": ("Address of its keys", "Its JWK set."),
    **{f"jwt_claim_{name}": (f"Claim for {name}", "") for name in CLAIMS},
    "jwt_tenant": ("Value of the tenant's claim", "For an issuer that several tenants share. Empty: the slug."),
}
_JWT_SCOPES = "jwt_scopes"


class TenantForm(forms.ModelForm):  # type: ignore[type-arg]
    """Form of a tenant. The box `disabled` sets or clears the time stamp `disabled_at`."""

    disabled = forms.BooleanField(required=False, help_text="None of its keys works while this is on.")

    class Meta:
        model = Tenant
        fields = ("slug", "name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["disabled"].initial = self.instance.disabled_at is not None
        stored = self.instance.settings if isinstance(self.instance.settings, dict) else {}
        for setting in TENANT_SETTINGS:
            if setting.kind is not dict:
                self.fields[setting.name] = _field(setting)
                self.initial[setting.name] = _shown(stored.get(setting.name))
        self._add_issuer(stored.get("jwt"))

    def _add_issuer(self, stored: Any) -> None:
        jwt = stored if isinstance(stored, dict) else {}
        claims, scopes = jwt.get("claims"), jwt.get("scopes")
        known = {f"jwt_{name}": jwt.get(name) for name in (*_JWT_TEXTS, "tenant")}
        known |= {f"jwt_claim_{name}": text for name, text in (claims if isinstance(claims, dict) else {}).items()}
        for name, (label, text) in _JWT_FIELDS.items():
            self.fields[name] = forms.CharField(required=False, label=label, help_text=text, max_length=2000)
            self.initial[name] = known.get(name) or ""
        self.fields[_JWT_SCOPES] = forms.CharField(
            required=False,
            label="Its scopes",
            widget=forms.Textarea(attrs={"rows": 3, "cols": 40}),
            help_text="A line for each: developer = sessions, inference",
        )
        lines = scopes.items() if isinstance(scopes, dict) else ()
        self.initial[_JWT_SCOPES] = "\n".join(f"{name} = {', '.join(map(str, granted))}" for name, granted in lines)

    def clean(self) -> dict[str, Any]:
        """Puts the settings together, which the service validates."""
        given = super().clean() or {}
        stored = self.instance.settings if isinstance(self.instance.settings, dict) else {}
        settings = {name: value for name, value in stored.items() if name not in SETTINGS}
        for setting in TENANT_SETTINGS:
            value = given.get(setting.name)
            if setting.kind is not dict and value not in (None, ""):
                settings[setting.name] = value == "yes" if setting.kind is bool else value
        if jwt := self._issuer(given):
            settings["jwt"] = jwt
        given["settings"] = settings
        return given

    def _issuer(self, given: Mapping[str, Any]) -> dict[str, Any]:
        jwt: dict[str, Any] = {
            name: given[f"jwt_{name}"] for name in (*_JWT_TEXTS, "tenant") if given.get(f"jwt_{name}")
        }
        if claims := {name: given[f"jwt_claim_{name}"] for name in CLAIMS if given.get(f"jwt_claim_{name}")}:
            jwt["claims"] = claims
        scopes = {}
        for line in filter(None, map(str.strip, given.get(_JWT_SCOPES, "").splitlines())):
            name, equals, granted = line.partition("=")
            if not equals or not name.strip():
                self.add_error(_JWT_SCOPES, "Each line is the issuer's scope, =, and scopes of the gateway.")
                break
            scopes[name.strip()] = [scope.strip() for scope in granted.split(",") if scope.strip()]
        return {**jwt, "scopes": scopes} if scopes else jwt


def tenant_fieldsets() -> list[tuple[str | None, dict[str, Any]]]:
    """Returns the form's fields in groups."""
    groups: dict[str, list[str]] = {}
    for setting in TENANT_SETTINGS:
        if setting.kind is not dict:
            groups.setdefault(setting.group, []).append(setting.name)
    issuer = [*_JWT_FIELDS, _JWT_SCOPES]
    return [
        (None, {"fields": ("slug", "name", "disabled")}),
        *((name, {"fields": fields}) for name, fields in groups.items()),
        ("Tokens of an issuer", {"classes": ("collapse",), "fields": issuer}),
    ]


def _field(setting: TenantSetting) -> forms.Field:
    label = setting.name.replace("_", " ").capitalize().replace("Rpm", "Requests per minute")
    if setting.kind is bool:
        choices = [("", f"default: {setting.default}"), ("yes", "yes"), ("no", "no")]
        return forms.ChoiceField(required=False, label=label, choices=choices, help_text=setting.meaning)
    if setting.kind is int:
        return forms.IntegerField(
            required=False, label=label, min_value=0, max_value=setting.most, help_text=setting.help
        )
    return forms.CharField(required=False, label=label, max_length=setting.most, help_text=setting.help)


def _shown(value: Any) -> Any:
    return ("yes" if value else "no") if isinstance(value, bool) else value
