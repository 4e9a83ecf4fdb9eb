"""Admin sections for webhooks and their deliveries. They call the same services as the API.

A secret is shown once, on the page that confirms its creation. Deliveries are read-only and can be sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from admin_app.access import principal_in, tenant_of
from admin_app.site import SITE
from admin_app.tables import Confirmation, ReadOnlyModelAdmin, TenantFilter, TenantModelAdmin
from admin_app.templatetags.gateway_numbers import badge
from core_app.guarded_client import AddressRefused, check_url
from events_app.models import WebhookDelivery, WebhookEndpoint
from events_app.webhooks import services
from events_app.webhooks.models import DeliveryState
from events_app.webhooks.selectors import endpoints_of
from events_app.webhooks.services import IssuedWebhook
from sessions_app.events import WEBHOOK_EVENTS
from sessions_app.models import AgentSession
from tenants_app.models import Tenant
from tenants_app.principal import WEBHOOKS

_SHOWN_URL = 60
_LISTED = 50


class WebhookForm(forms.ModelForm):  # type: ignore[type-arg]
    """Form of a webhook, without its secret, which the service creates."""

    url = forms.CharField(label="Address", widget=forms.TextInput(attrs={"size": 80}), help_text="https only.")
    events = forms.MultipleChoiceField(
        choices=[(name, name) for name in WEBHOOK_EVENTS], widget=forms.CheckboxSelectMultiple
    )
    disabled = forms.BooleanField(
        required=False, help_text="Nothing is sent or noted while this is on; what is pending goes on afterwards."
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("tenant", "url", "events", "description")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["disabled"].initial = self.instance.disabled_at is not None

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        tenant = given.get("tenant") or (self.instance.tenant if self.instance.pk else None)
        if tenant is not None and "url" in given:
            try:
                check_url(given["url"], allow_private=tenant.allow_private)
            except AddressRefused as refused:
                self.add_error("url", f"The address {refused.reason}")
        return given


class WorkingFilter(admin.SimpleListFilter):
    """Filter for webhooks that are on or switched off."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("on", "on"), ("off", "switched off")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(disabled_at__isnull=self.value() == "on") if self.value() in ("on", "off") else queryset


@admin.register(WebhookEndpoint, site=SITE)
class WebhookAdmin(TenantModelAdmin):
    """The list of webhooks."""

    form = WebhookForm
    change_scopes = (WEBHOOKS,)
    list_display = ("public_id", "tenant", "address", "event_types", "state_badge", "deliveries")
    list_filter = (WorkingFilter, TenantFilter)
    list_select_related = ("tenant",)
    ordering = ("-id",)
    id_search_fields = ("public_id",)
    search_help_text = "A whole webhook id."
    actions = ("test", "rotate", "remove")

    @admin.display
    def address(self, endpoint: WebhookEndpoint) -> SafeString:
        """The URL and the description, truncated."""
        shown = "{}<span class='under'>{}</span>"
        return format_html(shown, endpoint.url[:_SHOWN_URL], endpoint.description[:_SHOWN_URL])

    @admin.display(description="events")
    def event_types(self, endpoint: WebhookEndpoint) -> str:
        """The types of events on one line."""
        return ", ".join(endpoint.events)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        attempted = WebhookDelivery.objects.filter(endpoint=OuterRef("pk"), attempts__gt=0).order_by("-id")
        shown: QuerySet[Any] = (
            super()
            .get_queryset(request)
            .annotate(
                last_error=Subquery(attempted.values("last_error")[:1]),
                last_status=Subquery(attempted.values("last_status")[:1]),
                last_attempts=Subquery(attempted.values("attempts")[:1]),
                last_state=Subquery(attempted.values("state")[:1]),
            )
        )
        return shown

    @admin.display(description="state")
    def state_badge(self, endpoint: Any) -> SafeString:
        """Badge of the state: off, enabled, or how the newest attempted delivery went."""
        if endpoint.disabled_at is not None:
            return format_html("{}<span class='under'>{}</span>", badge("off"), endpoint.disabled_reason or "")
        if endpoint.last_state in (None, DeliveryState.DELIVERED):
            return badge("enabled" if endpoint.last_state is None else "delivering")
        reason = (
            f"HTTP {endpoint.last_status}" if endpoint.last_status else (endpoint.last_error or "").replace("_", " ")
        )
        tries = f"{reason}, {endpoint.last_attempts} attempt{'' if endpoint.last_attempts == 1 else 's'}"
        return format_html("{}<span class='under'>{}</span>", badge("failing"), tries)

    @admin.display(description="")
    def deliveries(self, endpoint: WebhookEndpoint) -> SafeString:
        """Link to the webhook's deliveries."""
        address = reverse("admin:events_app_webhookdelivery_changelist")
        return format_html('<a href="{}?webhook={}">Deliveries</a>', address, endpoint.pk)

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> tuple[str, ...]:
        shown = ("tenant", "url", "events", "description")
        return shown if obj is None else (*shown, "disabled", *self.get_readonly_fields(request, obj)[1:])

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> tuple[str, ...]:
        return () if obj is None else ("tenant", "public_id", "created_at", "disabled_reason", "former_until")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        tenant = tenant_of(request)
        if db_field.name == "tenant" and tenant is not None:
            kwargs |= {"queryset": Tenant.objects.filter(pk=tenant.pk), "initial": tenant.pk}
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        # The page after saving shows the secret, so there are no other buttons.
        only_save = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**only_save, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        given = {name: form.cleaned_data[name] for name in ("url", "events", "description")}
        principal = principal_in(request, obj.tenant)
        if change:
            changes = {**given, "disabled": form.cleaned_data["disabled"]}
            services.webhook_change(principal=principal, public_id=obj.public_id, changes=changes)
            return
        issued = services.webhook_create(principal=principal, **given)
        obj.pk = issued.endpoint.pk
        request.issued_webhook = issued  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: WebhookEndpoint, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._secret_page(request, [request.issued_webhook])  # type: ignore[attr-defined]

    @admin.action(description="Send a test message", permissions=["change"])
    def test(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        def one(endpoint: WebhookEndpoint, text: str) -> str:
            principal = principal_in(request, endpoint.tenant)
            delivery = services.webhook_test(principal=principal, public_id=endpoint.public_id)
            return f"{delivery.pk} is on its way to {endpoint.public_id}."

        message = "A message of type “test” is sent to these webhooks:"
        return self.confirm_action(request, queryset, Confirmation("test", "Test webhooks", message, "Yes, send"), one)

    @admin.action(description="Rotate: a new secret, the old one signs too for a day", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        issued: list[IssuedWebhook] = []

        def one(endpoint: WebhookEndpoint, text: str) -> str:
            principal = principal_in(request, endpoint.tenant)
            issued.append(services.webhook_rotate(principal=principal, public_id=endpoint.public_id))
            return f"{endpoint.public_id} has a new secret."

        message = "These webhooks get a new secret; messages carry a signature of the old one too for 24 hours:"
        response = self.confirm_action(
            request, queryset, Confirmation("rotate", "Rotate secrets", message, "Yes, rotate"), one
        )
        return self._secret_page(request, issued) if issued else response

    @admin.action(description="Delete", permissions=["change"])
    def remove(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        def one(endpoint: WebhookEndpoint, text: str) -> str:
            services.webhook_delete(principal=principal_in(request, endpoint.tenant), public_id=endpoint.public_id)
            return f"{endpoint.public_id} is deleted."

        message = "These webhooks are deleted, with everything that was or is to be delivered to them:"
        return self.confirm_action(
            request, queryset, Confirmation("remove", "Delete webhooks", message, "Yes, delete"), one
        )

    def _secret_page(self, request: HttpRequest, issued: list[IssuedWebhook]) -> HttpResponse:
        """Renders the page that shows secrets, uncached. A message would put them into a cookie."""
        context = {**SITE.each_context(request), "title": "Copy it now", "opts": self.opts, "issued": issued}
        response = TemplateResponse(request, "admin/sessions_app/webhook_shown.html", context)
        response["Cache-Control"] = "no-store"
        return response


class WebhookFilter(admin.SimpleListFilter):
    """Filter for deliveries to one webhook."""

    title = "webhook"
    parameter_name = "webhook"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        tenant = tenant_of(request)
        seen = endpoints_of(tenant)
        rows = list(seen.order_by("-id").values_list("pk", "public_id")[:_LISTED])
        chosen = request.GET.get(self.parameter_name, "")
        if chosen.isdecimal() and len(chosen) < 19 and int(chosen) not in dict(rows):
            rows += seen.filter(pk=int(chosen)).values_list("pk", "public_id")
        return [(str(pk), name) for pk, name in rows]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value() or ""
        return queryset.filter(endpoint_id=int(chosen)) if chosen.isdecimal() and len(chosen) < 19 else queryset


class DeliveryStateFilter(admin.SimpleListFilter):
    """Filter for deliveries by state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.value) for state in DeliveryState]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() else queryset


@admin.register(WebhookDelivery, site=SITE)
class WebhookDeliveryAdmin(ReadOnlyModelAdmin):
    """The list of deliveries, read-only; ids are in order of time."""

    view_scopes = (WEBHOOKS,)
    list_display = (
        "id",
        "type",
        "session",
        "state_badge",
        "attempts",
        "last_status",
        "last_error",
        "webhook",
        "created_at",
    )
    list_filter = (DeliveryStateFilter, WebhookFilter)
    ordering = ("-id",)
    id_search_fields = ("id",)
    search_help_text = "A whole delivery id (webhook-id)."
    fields = ("id", "webhook", "type", "session", "offset", "state", "attempts", "last_status", "last_error")
    readonly_fields = ("webhook", "session")
    actions = ("redeliver",)

    def filter_tenant(self, queryset: QuerySet[Any], tenant: Tenant) -> QuerySet[Any]:
        # By endpoint ids, which are few: with a join PostgreSQL may read all tenants' deliveries.
        own = list(endpoints_of(tenant).values_list("pk", flat=True))
        return queryset.filter(endpoint_id__in=own)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        named = AgentSession.objects.filter(stream_id=OuterRef("stream_id")).values("public_id")
        rows = super().get_queryset(request).select_related("endpoint__tenant")
        shown: QuerySet[Any] = rows.annotate(session_name=Subquery(named))
        return shown

    @admin.display(description="state")
    def state_badge(self, delivery: WebhookDelivery) -> SafeString:
        """The state as a badge."""
        return badge(delivery.state)

    @admin.display
    def session(self, delivery: Any) -> str:
        """The public id of the event's session."""
        return delivery.session_name or ""

    @admin.display
    def webhook(self, delivery: WebhookDelivery) -> str:
        """The public id of the webhook."""
        return delivery.endpoint.public_id

    def has_redeliver_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """True for people who may send a delivery again."""
        return self.has_view_permission(request, obj)

    @admin.action(description="Send again", permissions=["redeliver"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> HttpResponse | None:
        def one(delivery: WebhookDelivery, text: str) -> str:
            endpoint = delivery.endpoint
            services.delivery_redeliver(
                principal=principal_in(request, endpoint.tenant),
                public_id=endpoint.public_id,
                delivery_id=delivery.pk,
            )
            return f"{delivery.pk} is sent again."

        message = "These are sent again under the same ids; of a session the earlier ones go first:"
        confirmation = Confirmation("redeliver", "Send again", message, "Yes, send")
        return self.confirm_action(request, queryset, confirmation, one)

    def confirmation_rows(self, rows: Sequence[Any]) -> Sequence[Any]:
        """The oldest first, the order in which they are sent."""
        return sorted(rows, key=lambda row: str(row.pk))
