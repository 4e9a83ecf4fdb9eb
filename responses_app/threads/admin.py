"""The admin's section for threads: for looking, and to erase."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from admin_app.access import actor_of, may
from admin_app.site import SITE
from admin_app.tables import Confirmation, ReadOnlyModelAdmin, TenantFilter
from core_app import jsontext
from responses_app.threads.models import MessageThread
from responses_app.threads.services import threads_remove
from tenants_app.principal import ADMIN, INFERENCE, OPERATOR
from tenants_app.services import audit_record

_SHOWN = 20_000
"""Characters of a JSON text on a page."""

_TURNS = 20


@admin.register(MessageThread, site=SITE)
class MessageThreadAdmin(ReadOnlyModelAdmin):
    """The list of threads, each with its newest turns."""

    view_scopes = (INFERENCE, OPERATOR)
    list_display = ("public_id", "tenant", "turn_count", "end_user", "created_at", "updated_at")
    list_filter = (TenantFilter,)
    list_select_related = ("tenant",)
    ordering = ("-id",)
    id_search_fields = ("public_id", "turns__public_id")
    search_help_text = "The whole id of one of its answers."
    fields = (
        "public_id",
        "tenant",
        "turn_count",
        "end_user",
        "context_text",
        "newest_turns",
        "created_at",
        "updated_at",
    )
    readonly_fields = fields
    actions = ("erase",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[MessageThread]:
        rows: QuerySet[MessageThread] = super().get_queryset(request)
        # A list must not read megabytes for each row.
        match = request.resolver_match
        changelist = match is not None and (match.url_name or "").endswith("changelist")
        return rows.defer("context") if changelist else rows

    @admin.display(description="turns")
    def turn_count(self, row: MessageThread) -> int:
        """The number of its turns."""
        return row.last_number

    @admin.display(description="system and tools")
    def context_text(self, row: MessageThread) -> SafeString:
        """The fields that the thread was created with."""
        kept = {name: jsontext.decode(text) for name, text in jsontext.decode(row.context).items()}
        return _laid_out(jsontext.encode_text(kept))

    @admin.display(description="newest turns")
    def newest_turns(self, row: MessageThread) -> SafeString:
        """The newest turns, the oldest of them first."""
        turns = reversed(row.turns.order_by("-number").values_list("messages", "reply")[:_TURNS])
        return _laid_out(f"[{','.join(f'{messages},{reply}' for messages, reply in turns)}]")

    @admin.action(description="Erase", permissions=("erase",))
    def erase(self, request: HttpRequest, queryset: QuerySet[MessageThread]) -> HttpResponse | None:
        """Removes the chosen threads with their turns."""

        def act(row: MessageThread, text: str) -> str:
            name, tenant_id = row.public_id, row.tenant_id
            threads_remove([row.pk])
            audit_record(actor=actor_of(request), action="thread.erase", target=name, tenant_id=tenant_id)
            return f"{name} is erased."

        question = Confirmation("erase", "Erase threads", "Their turns are removed for good.", "Erase")
        return self.confirm_action(request, queryset, question, act)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """True for administrators of the tenant."""
        return may(request, ADMIN)


def _laid_out(text: str) -> SafeString:
    shown = jsontext.indent(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
    return format_html("<pre>{}</pre>", shown)
