"""Admin section for sessions: search, a page per session, and actions that close, abort or erase.

Nothing is edited. The actions ask for confirmation, call the same services as the API, and are recorded in the audit
trail.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Case, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from admin_app.access import actor_of, may, principal_in, tenant_of
from admin_app.site import SITE
from admin_app.tables import Confirmation, ReadOnlyModelAdmin, TenantFilter
from admin_app.templatetags.gateway_numbers import badge, cost, group_digits
from core_app import jsontext
from core_app.database import write_transaction
from core_app.visible_text import visible_text
from sessions_app.admin import session_lists
from sessions_app.admin.timeline import timeline_of
from sessions_app.models import AgentSession, Run, RunState, SessionState
from sessions_app.services.erasure import session_erase
from sessions_app.services.run_control import run_abort
from sessions_app.services.session import session_close
from tenants_app.models import Tenant
from tenants_app.principal import ADMIN, OPERATOR, SESSIONS, SESSIONS_READ
from tenants_app.services import audit_record

_RECENT = 1_000
"""The model filter lists the models of this many newest sessions."""

_BY_OPERATOR = "Aborted by an operator."


class StateFilter(admin.SimpleListFilter):
    """Filter for sessions by state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.value.replace("_", " ")) for state in SessionState]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AgentSession]) -> QuerySet[AgentSession]:
        if not self.value():
            return queryset
        # The index of states begins with the tenant.
        return queryset.filter(state=self.value(), tenant_id__in=Tenant.objects.values("pk"))


class ModelFilter(admin.SimpleListFilter):
    """Filter for sessions by model, among recently used models."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        tenant = tenant_of(request)
        rows = AgentSession.objects.all() if tenant is None else AgentSession.objects.filter(tenant=tenant)
        newest = rows.order_by("-id").values("pk", "model")[:_RECENT]
        models = {row["model"] for row in newest} | set(filter(None, [request.GET.get(self.parameter_name)]))
        return [(model, model) for model in sorted(models)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AgentSession]) -> QuerySet[AgentSession]:
        return queryset.filter(model=self.value()) if self.value() else queryset


@admin.register(AgentSession, site=SITE)
class AgentSessionAdmin(ReadOnlyModelAdmin):
    """The list of sessions. Search is by complete session or run id, so that no query reads the whole table."""

    view_scopes = (SESSIONS_READ, OPERATOR)
    list_display = ("session_label", "state_badge", "tenant", "turns", "tokens", "costs", "last_change")
    list_filter = (StateFilter, ModelFilter, TenantFilter)
    list_select_related = ("tenant",)
    ordering = ("-id",)
    id_search_fields = ("public_id",)
    search_help_text = "A whole session id or run id (requestId)."
    actions = ("close", "abort", "erase")

    @admin.display(description="session")
    def session_label(self, session: AgentSession) -> SafeString:
        """The id, and below it the model and the client's title, truncated."""
        under = " · ".join(filter(None, [session.model, session.title]))[:80]
        return format_html("{}<span class='under'>{}</span>", session.public_id, visible_text(under))

    @admin.display(description="updated")
    def last_change(self, session: AgentSession) -> str:
        """The time of the last change, to the minute."""
        return f"{session.updated_at:%Y-%m-%d %H:%M}"

    @admin.display(description="state")
    def state_badge(self, session: AgentSession) -> SafeString:
        """The state as a badge. A session whose newest run failed says so, until it is prompted again."""
        failed = getattr(session, "failed_with", None)
        if session.state != SessionState.IDLE or failed is None:
            return badge(session.state)
        return format_html("{}<span class='under'>{}</span>", badge("failed"), failed)

    @admin.display
    def tokens(self, session: AgentSession) -> str:
        """Input and output tokens together."""
        return group_digits(session.input_tokens + session.output_tokens)

    @admin.display(description="cost")
    def costs(self, session: AgentSession) -> SafeString:
        """The known cost."""
        return cost(session)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AgentSession]:
        texts = ("system_prompt", "options", "response_format", "user_data", "metadata", "builtins", "approvals")
        newest = Run.objects.filter(session=OuterRef("pk")).order_by("-number")
        code = Case(When(state=RunState.FAILED, then=Coalesce("error_code", "end_reason", Value(""))), default=None)
        rows = super().get_queryset(request).defer(*texts)
        found: QuerySet[AgentSession] = rows.annotate(
            failed_with=Subquery(newest.annotate(code=code).values("code")[:1])
        )
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AgentSession], search_term: str
    ) -> tuple[QuerySet[AgentSession], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        named = AgentSession.objects.filter(public_id=term, tenant_id__in=Tenant.objects.values("pk"))
        found = {*named.values_list("pk", flat=True), *Run.objects.filter(pk=term).values_list("session_id", flat=True)}
        return queryset.filter(pk__in=found), False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """True for people who may close sessions and abort runs."""
        return may(request, SESSIONS, OPERATOR)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """True for people who may erase sessions."""
        return may(request, ADMIN)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Renders the session's page, which has no form."""
        session = self.get_object(request, unquote(object_id))
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request, session):
            raise PermissionDenied
        found = AgentSession.objects.select_related("tenant", "api_key", "group", "stream").get(pk=session.pk)
        runs = session_lists.runs_page(found, request.GET)
        # The newest run, unless the page shows older ones.
        newest = next(iter(runs.rows), None) if runs.newest is None else None
        shown = {
            **self.admin_site.each_context(request),
            "title": found.public_id,
            "opts": self.opts,
            "session": found,
            "calls": session_lists.waiting_calls(found),
            "runs": runs,
            "messages_page": session_lists.messages_page(found, request.GET),
            "timeline": timeline_of(found, request.GET.get("run"), newest),
            "failed": newest if newest is not None and newest.state == RunState.FAILED else None,
            "events": session_lists.events_page(found, request.GET),
            "texts": _texts(found),
            "may_act": self.has_act_permission(request) and found.closed_at is None,
            "may_erase": self.has_erase_permission(request),
            "runs_now": found.state not in (SessionState.IDLE, SessionState.CLOSED),
        }
        return TemplateResponse(request, "admin/sessions_app/session.html", shown)

    @admin.action(description="Close", permissions=["act"])
    def close(self, request: HttpRequest, queryset: QuerySet[AgentSession]) -> HttpResponse | None:
        def one(session: AgentSession, text: str) -> str:
            with write_transaction():
                session_close(principal=principal_in(request, session.tenant), public_id=session.public_id)
                _audit(request, "session.close", session)
            return f"{session.public_id} is closed."

        message = "What runs or waits in these sessions is aborted, and nothing can be written to them any more:"
        return self.confirm_action(
            request, queryset, Confirmation("close", "Close sessions", message, "Yes, close"), one
        )

    @admin.action(description="Abort the run", permissions=["act"])
    def abort(self, request: HttpRequest, queryset: QuerySet[AgentSession]) -> HttpResponse | None:
        def one(session: AgentSession, text: str) -> str:
            principal = principal_in(request, session.tenant)
            with write_transaction():
                run = run_abort(principal=principal, public_id=session.public_id, reason=text or _BY_OPERATOR)
                _audit(request, "run.abort", session, run=run.pk)
            return f"The run of {session.public_id} is aborted."

        message = "The active run of these sessions ends at once, with whatever it waits for; queued prompts go on:"
        confirmation = Confirmation(
            "abort", "Abort runs", message, "Yes, abort", prompt="Reason, told to the client (optional)"
        )
        return self.confirm_action(request, queryset, confirmation, one)

    @admin.action(description="Erase for good", permissions=["erase"])
    def erase(self, request: HttpRequest, queryset: QuerySet[AgentSession]) -> HttpResponse | None:
        def one(session: AgentSession, text: str) -> str:
            actor = actor_of(request)
            removed = session_erase(tenant_id=session.tenant_id, public_id=session.public_id, actor=actor)
            return f"{session.public_id} is erased, with {removed} events."

        message = (
            "These sessions are ended and removed with their messages, events and tool calls. This cannot be undone; "
            "what they cost stays in the ledger, without their name:"
        )
        return self.confirm_action(
            request, queryset, Confirmation("erase", "Erase sessions", message, "Yes, erase for good"), one
        )


def _texts(session: AgentSession) -> list[tuple[str, str]]:
    """The texts that the client supplied at creation, without empty ones."""
    given = (
        ("System prompt", session.system_prompt),
        ("Model options", session.options),
        ("Built-in tools", session.builtins),
        ("Approval rules", session.approvals),
        ("Response format", session.response_format or ""),
        ("User data", session.user_data),
        ("Metadata", session.metadata),
    )
    return [
        (name, (text if name == "System prompt" else jsontext.indent(text))[: session_lists.MAX_TEXT])
        for name, text in given
        if text not in ("", "{}", "[]")
    ]


def _audit(request: HttpRequest, action: str, session: AgentSession, **detail: str) -> None:
    audit_record(
        actor=actor_of(request), action=action, target=session.public_id, tenant_id=session.tenant_id, detail=detail
    )
