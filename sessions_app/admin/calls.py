"""Admin section for tool calls, with actions that approve, reject or answer. They call the same services as the API.

The confirmation page shows the arguments, whole: nobody decides on what was left out. A decision is refused when they
are not the arguments that were shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from admin_app.access import actor_of, may, principal_in
from admin_app.site import SITE
from admin_app.tables import Confirmation
from core_app import jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict
from sessions_app.admin.decision_context import DecisionContext, decision_contexts
from sessions_app.models import AgentSession
from sessions_app.services.decisions import approval_decide, question_answer
from tenants_app.principal import APPROVALS, QUESTIONS
from tenants_app.services import audit_record
from tools_app.admin import ToolCallAdmin
from tools_app.models import ToolCall
from tools_app.states import CallState

_TEMPLATE = "admin/sessions_app/decide.html"
_MAX_RESULT = 8_000
_MAX_PAGE_TEXT = 1_000_000
"""Characters of arguments on one confirmation page, as stored. Those of one call, at most 256 KiB, always fit."""

_INDENT_FACTOR = 4
"""Laid out, arguments may be this many times as long as stored; deep nesting would make them longer."""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call as the confirmation page shows it."""

    pk: str
    call: ToolCall
    session: AgentSession | None
    args: str
    """All of them."""
    options: list[dict[str, str]]
    context: DecisionContext

    @classmethod
    def from_call(cls, call: ToolCall, session: AgentSession | None, context: DecisionContext) -> PendingCall:
        """Builds the value from a call, with its JSON decoded."""
        options = jsontext.decode(call.options or "[]")
        return cls(call.pk, call, session, _laid_out(call.args), options, context)


@admin.register(ToolCall, site=SITE)
class DecisionAdmin(ToolCallAdmin):
    """The list of calls with the actions for those that wait."""

    actions = ("approve", "reject", "answer")

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """True for people who may approve and reject."""
        return may(request, APPROVALS)

    def has_answer_permission(self, request: HttpRequest) -> bool:
        """True for people who may answer for the user of a session."""
        return may(request, QUESTIONS)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Renders the call's page, which has no form."""
        call = self.get_object(request, unquote(object_id))
        assert isinstance(call, ToolCall)
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request, call):
            raise PermissionDenied
        session = AgentSession.objects.filter(stream_id=call.stream_id).first()
        shown = {
            **self.admin_site.each_context(request),
            "title": f"{call.tool_name} · {call.pk}",
            "opts": self.opts,
            "call": call,
            "session": session,
            "decision": decision_contexts([call], {} if session is None else {call.stream_id: session})[call.pk],
            "texts": _texts(call),
            "may_decide": call.state == CallState.AWAITING_APPROVAL and self.has_decide_permission(request),
            "may_answer": call.state == CallState.AWAITING_ANSWER and self.has_answer_permission(request),
        }
        return TemplateResponse(request, "admin/sessions_app/call.html", shown)

    @admin.action(description="Approve", permissions=["decide"])
    def approve(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> HttpResponse | None:
        confirmation = Confirmation(
            "approve", "Approve calls", "These calls will be made:", "Yes, approve", "Comment", _TEMPLATE
        )
        return self._decide(request, queryset, confirmation, approve=True)

    @admin.action(description="Reject", permissions=["decide"])
    def reject(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> HttpResponse | None:
        message = "These calls will not be made; the model is told so, and why:"
        confirmation = Confirmation("reject", "Reject calls", message, "Yes, reject", "Reason", _TEMPLATE)
        return self._decide(request, queryset, confirmation, approve=False)

    @admin.action(description="Answer", permissions=["answer"])
    def answer(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> HttpResponse | None:
        def one(call: ToolCall, text: str) -> str:
            given = request.POST.get(f"answer_{call.pk}", "")
            if not given.strip():
                raise BadRequest("It was given no answer.")
            session = _session(call)
            with write_transaction():
                principal = principal_in(request, call.tenant)
                question_answer(
                    principal=principal, public_id=session.public_id, ref=call.ref or "", response=given.strip()
                )
                audit_record(
                    actor=actor_of(request),
                    action="question.answer",
                    target=call.pk,
                    tenant_id=call.tenant_id,
                    detail={"session": session.public_id},
                )
            return f"The question of {session.public_id} is answered."

        confirmation = Confirmation(
            "answer", "Answer questions", "The answer is given to the model:", "Answer", None, _TEMPLATE
        )
        return self._confirm_fitting(request, queryset, CallState.AWAITING_ANSWER, confirmation, one)

    def _decide(
        self, request: HttpRequest, queryset: QuerySet[ToolCall], confirmation: Confirmation, *, approve: bool
    ) -> HttpResponse | None:
        def one(call: ToolCall, text: str) -> str:
            session = _session(call)
            approval_decide(
                principal=principal_in(request, call.tenant),
                public_id=session.public_id,
                approval_id=call.approval_id or "",
                approve=approve,
                args_hash=request.POST.get(f"hash_{call.pk}", ""),
                comment=text or None,
            )
            return f"{call.tool_name} of {session.public_id} is {'approved' if approve else 'rejected'}."

        return self._confirm_fitting(request, queryset, CallState.AWAITING_APPROVAL, confirmation, one)

    def _confirm_fitting(
        self, request: HttpRequest, queryset: QuerySet[ToolCall], state: CallState, confirmation: Confirmation, act: Any
    ) -> HttpResponse | None:
        if "confirmed" in request.POST:
            return self.confirm_action(request, queryset, confirmation, act)
        fitting = queryset.filter(state=state)
        if not fitting.exists():
            messages.warning(request, f"None of the chosen calls can be taken to {confirmation.action}.")
            return None
        found = fitting.aggregate(size=Sum(Length("args")), calls=Count("pk"))
        if found["calls"] > 1 and found["size"] > _MAX_PAGE_TEXT:
            messages.error(request, "The arguments of these calls are too long for one page: choose fewer calls.")
            return None
        return self.confirm_action(request, fitting, confirmation, act)

    def confirmation_rows(self, rows: Sequence[ToolCall]) -> list[PendingCall]:
        sessions = AgentSession.objects.in_bulk([call.stream_id for call in rows], field_name="stream_id")
        contexts = decision_contexts(rows, sessions)
        return [PendingCall.from_call(call, sessions.get(call.stream_id), contexts[call.pk]) for call in rows]


def _session(call: ToolCall) -> AgentSession:
    """Returns the call's session; raises Conflict when it was erased meanwhile."""
    session = AgentSession.objects.filter(stream_id=call.stream_id).first()
    if session is None:
        raise Conflict("Its session is gone.")
    return session


def _texts(call: ToolCall) -> list[tuple[str, str, int]]:
    """The call's long texts, without empty ones. The number counts the characters that were left out: only of a
    result, which nobody decides on."""
    given = (
        ("Question", call.question),
        ("Arguments", _laid_out(call.args)),
        ("Arguments it was approved with", _laid_out(call.decided_args) if call.decided_args else None),
        ("Hint of the tool", call.approval_hint),
        ("Comment", call.comment),
    )
    whole = [(name, text, 0) for name, text in given if text]
    result = call.result or ""
    return [*whole, ("Result", result[:_MAX_RESULT], max(0, len(result) - _MAX_RESULT))] if result else whole


def _laid_out(raw: str) -> str:
    """The JSON text laid out for people, unless deep nesting would make it many times as long."""
    text = jsontext.indent(raw)
    return text if len(text) <= _INDENT_FACTOR * len(raw) + _MAX_RESULT else raw
