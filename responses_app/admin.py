"""Admin sections for stored responses and conversations: for looking, and for actions that call the same services as
the API."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from admin_app.access import actor_of, may
from admin_app.site import SITE, Section
from admin_app.tables import Confirmation, ReadOnlyModelAdmin, TenantFilter
from admin_app.templatetags.gateway_numbers import badge
from core_app import jsontext
from core_app.errors import Conflict
from responses_app.conversations import conversations_remove
from responses_app.models import Conversation, ConversationItem, ResponseStatus, StoredResponse
from responses_app.services import responses_remove
from responses_app.threads.admin import MessageThreadAdmin
from sessions_app.selectors import runs_unfinished
from sessions_app.services.session import session_stop_runs
from tenants_app.principal import ADMIN, INFERENCE, OPERATOR
from tenants_app.services import audit_record

__all__ = ["ConversationAdmin", "MessageThreadAdmin", "StoredResponseAdmin"]

_SHOWN = 20_000
"""Characters of a JSON text on a page."""

_ITEMS = 50


class StatusFilter(admin.SimpleListFilter):
    """Filter for responses by status."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status.value, status.value) for status in ResponseStatus]

    def queryset(self, request: HttpRequest, queryset: QuerySet[StoredResponse]) -> QuerySet[StoredResponse]:
        return queryset.filter(status=self.value()) if self.value() else queryset


@admin.register(StoredResponse, site=SITE)
class StoredResponseAdmin(ReadOnlyModelAdmin):
    """The list of responses, each with its input and output."""

    view_scopes = (INFERENCE, OPERATOR)
    list_display = ("public_id", "kind", "status_badge", "tenant", "model", "background", "created_at", "updated_at")
    list_filter = (StatusFilter, TenantFilter)
    list_select_related = ("tenant",)
    ordering = ("-id",)
    id_search_fields = ("public_id",)
    search_help_text = "A whole response id."
    fields = (
        *("public_id", "kind", "tenant", "status_badge", "model", "background", "previous_id", "conversation"),
        "session_name",
        *("end_user", "input_text", "output_text", "body_text", "created_at", "updated_at"),
    )
    readonly_fields = fields
    actions = ("cancel", "erase")

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredResponse]:
        rows: QuerySet[StoredResponse] = super().get_queryset(request)
        # A list must not read megabytes for each row.
        match = request.resolver_match
        changelist = match is not None and (match.url_name or "").endswith("changelist")
        return rows.defer("input", "output", "body", "request") if changelist else rows

    @admin.display(description="status")
    def status_badge(self, row: StoredResponse) -> SafeString:
        """The status, coloured."""
        return badge(row.status)

    @admin.display(description="session")
    def session_name(self, row: StoredResponse) -> str:
        """The id of the session of a background response."""
        return "" if row.session is None else row.session.public_id

    @admin.display(description="input")
    def input_text(self, row: StoredResponse) -> SafeString:
        """The items of its own input."""
        return _laid_out(row.input)

    @admin.display(description="output")
    def output_text(self, row: StoredResponse) -> SafeString:
        """The items of its output."""
        return _laid_out(row.output)

    @admin.display(description="response")
    def body_text(self, row: StoredResponse) -> SafeString:
        """The response's object without its output."""
        return _laid_out(row.body)

    @admin.action(description="Cancel")
    def cancel(self, request: HttpRequest, queryset: QuerySet[StoredResponse]) -> HttpResponse | None:
        """Cancels the chosen responses."""

        def act(row: StoredResponse, text: str) -> str:
            if row.session is None or not runs_unfinished(row.session.pk).exists():
                raise Conflict("The response has already ended.")
            session_stop_runs(row.session, message=text or "The response was cancelled by an operator.")
            audit_record(
                actor=actor_of(request), action="response.cancel", target=row.public_id, tenant_id=row.tenant_id
            )
            return f"{row.public_id} is cancelled."

        question = Confirmation(
            "cancel", "Cancel responses", "Their runs are stopped.", "Cancel the responses", prompt="Reason"
        )
        return self.confirm_action(request, queryset, question, act)

    @admin.action(description="Erase", permissions=("erase",))
    def erase(self, request: HttpRequest, queryset: QuerySet[StoredResponse]) -> HttpResponse | None:
        """Removes the chosen responses with all that was kept for them."""

        def act(row: StoredResponse, text: str) -> str:
            name, tenant_id = row.public_id, row.tenant_id
            responses_remove([row], actor=actor_of(request))
            audit_record(actor=actor_of(request), action="response.erase", target=name, tenant_id=tenant_id)
            return f"{name} is erased."

        question = Confirmation("erase", "Erase responses", "They are removed for good.", "Erase")
        return self.confirm_action(request, queryset, question, act)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """True for administrators of the tenant."""
        return may(request, ADMIN)


@admin.register(Conversation, site=SITE)
class ConversationAdmin(ReadOnlyModelAdmin):
    """The list of conversations, each with its newest items."""

    view_scopes = (INFERENCE, OPERATOR)
    list_display = ("public_id", "tenant", "end_user", "created_at", "updated_at")
    list_filter = (TenantFilter,)
    list_select_related = ("tenant",)
    ordering = ("-id",)
    id_search_fields = ("public_id",)
    search_help_text = "A whole conversation id."
    fields = ("public_id", "tenant", "end_user", "metadata", "newest_items", "created_at", "updated_at")
    readonly_fields = fields
    actions = ("erase",)

    @admin.display(description="newest items")
    def newest_items(self, row: Conversation) -> SafeString:
        """The newest items, the oldest of them first."""
        rows = ConversationItem.objects.filter(conversation=row).order_by("-number")
        return _laid_out(f"[{','.join(reversed(rows.values_list('data', flat=True)[:_ITEMS]))}]")

    @admin.action(description="Erase", permissions=("erase",))
    def erase(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> HttpResponse | None:
        """Removes the chosen conversations with their items."""

        def act(row: Conversation, text: str) -> str:
            name, tenant_id = row.public_id, row.tenant_id
            conversations_remove([row.pk])
            audit_record(actor=actor_of(request), action="conversation.erase", target=name, tenant_id=tenant_id)
            return f"{name} is erased."

        question = Confirmation("erase", "Erase conversations", "Their items are removed for good.", "Erase")
        return self.confirm_action(request, queryset, question, act)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """True for administrators of the tenant."""
        return may(request, ADMIN)


def _laid_out(text: str) -> SafeString:
    shown = jsontext.indent(text[:_SHOWN]) if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
    return format_html("<pre>{}</pre>", shown)


SITE.section_add(
    Section("Responses", rank=3, entries={"StoredResponse": "Responses", "Conversation": None, "MessageThread": None})
)
