"""Admin sections of devices and of the tokens with which connections resume.

Changes go through the services. The page of a token never shows its secret, which is not stored.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from admin_app.access import actor_of, tenant_of
from admin_app.site import SITE
from admin_app.tables import Confirmation, ReadOnlyModelAdmin, TenantFilter, TenantModelAdmin
from core_app import clock
from core_app.errors import BadRequest
from tenants_app.device_key import public_key_parse
from tenants_app.models import ConnectionToken, Device, Tenant
from tenants_app.principal import ADMIN
from tenants_app.services.connection_token import connection_token_end
from tenants_app.services.device import device_register, device_revoke


class DeviceForm(forms.ModelForm):  # type: ignore[type-arg]
    """Form of a device. The key is base64 of its 32 bytes, or an OpenSSH line."""

    public_key = forms.CharField(
        max_length=1000, help_text="Ed25519: base64 of the 32 bytes, or the line of an OpenSSH .pub file."
    )

    class Meta:
        model = Device
        fields = ("tenant", "device_id", "public_key")

    def clean_public_key(self) -> str:
        """Returns the key as it is stored: the model takes no OpenSSH line."""
        try:
            return public_key_parse(self.cleaned_data["public_key"])
        except BadRequest as error:
            raise forms.ValidationError(error.message) from None


@admin.register(Device, site=SITE)
class DeviceAdmin(TenantModelAdmin):
    """The list of devices. A device is registered and revoked, never changed."""

    form = DeviceForm
    change_scopes = (ADMIN,)
    list_display = ("device_id", "tenant", "good", "created_at", "last_used_at")
    list_filter = (TenantFilter,)
    list_select_related = ("tenant",)
    search_fields = ("device_id", "tenant__slug")
    actions = ("revoke",)

    @admin.display(boolean=True)
    def good(self, device: Device) -> bool:
        """True when the device is not revoked."""
        return device.revoked_at is None

    def get_readonly_fields(self, request: HttpRequest, obj: Device | None = None) -> tuple[str, ...]:
        shown = ("tenant", "device_id", "public_key", "created_at", "last_used_at", "revoked_at")
        return () if obj is None else shown

    def get_fields(self, request: HttpRequest, obj: Device | None = None) -> tuple[str, ...]:
        return ("tenant", "device_id", "public_key") if obj is None else self.get_readonly_fields(request, obj)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        tenant = tenant_of(request)
        if db_field.name == "tenant" and tenant is not None:
            kwargs |= {"queryset": Tenant.objects.filter(pk=tenant.pk), "initial": tenant.pk}
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Device, form: forms.ModelForm[Device], change: bool) -> None:
        if not change:
            registered = device_register(
                tenant=obj.tenant,
                device_id=obj.device_id,
                public_key=form.cleaned_data["public_key"],
                actor=actor_of(request),
            )
            obj.pk = registered.pk

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Device]) -> HttpResponse | None:
        def one(device: Device, text: str) -> str:
            device_revoke(tenant_id=device.tenant_id, device_id=device.device_id, actor=actor_of(request))
            return f"{device.device_id} is revoked."

        message = "These devices cannot sign in any more, and their connections end:"
        return self.confirm_action(
            request, queryset, Confirmation("revoke", "Revoke devices", message, "Yes, revoke"), one
        )


@admin.register(ConnectionToken, site=SITE)
class ConnectionTokenAdmin(ReadOnlyModelAdmin):
    """The list of connection tokens."""

    view_scopes = (ADMIN,)
    list_display = ("name", "method", "client_id", "tenant", "good", "created_at", "expires_at")
    list_filter = (TenantFilter,)
    list_select_related = ("tenant",)
    search_fields = ("name", "client_id")
    exclude = ("secret_hash",)
    actions = ("revoke",)

    @admin.display(boolean=True)
    def good(self, token: ConnectionToken) -> bool:
        """True when the token is neither revoked nor expired."""
        return token.revoked_at is None and token.expires_at > clock.now()

    @admin.action(description="Revoke", permissions=["view"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ConnectionToken]) -> HttpResponse | None:
        def one(token: ConnectionToken, text: str) -> str:
            connection_token_end(token=token, actor=actor_of(request))
            return f"{token} is revoked."

        message = "Connections with these tokens end, and their clients have to sign in again:"
        return self.confirm_action(
            request, queryset, Confirmation("revoke", "Revoke tokens", message, "Yes, revoke"), one
        )
