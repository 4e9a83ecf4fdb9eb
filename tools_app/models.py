"""Tables of a session's tools and of all tool calls, whatever their kind.

A session is referenced by its stream only. JSON is stored as encoded text (`core_app.jsontext`), secrets are sealed
(`core_app.sealing`), and expiries are compared by the database's clock alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from django.db import models
from django.db.models import Q

from core_app import clock, jsontext
from events_app.models import Stream
from tenants_app.models import Tenant
from tools_app.mcp.models import McpServer, McpServerState
from tools_app.states import WAITING, ApprovalState, CallKind, CallState, CallStatus

__all__ = ["OUTSIDE_PREFIX", "McpServer", "McpServerState", "SessionTool", "ToolCall"]

OUTSIDE_PREFIX = "out_"
"""Begins the ids of outside calls, and of no others (`tools_app.outside_calls`)."""

_SETTLED = CallState.SETTLED.value
_OPEN = ~Q(state=_SETTLED)


def _values(states: Iterable[StrEnum]) -> list[str]:
    """Plain text: a migration must not depend on the enums of a later version."""
    return [state.value for state in states]


class SessionTool(models.Model):
    """A tool that is registered for one session. Without `callback_url` the connected client runs it.

    `origin` is `client`, or `operator` for tools of the operator's agents. A client's approval policy cannot lower the
    approval flag of the latter.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, db_index=False, related_name="+")
    stream = models.ForeignKey(Stream, models.CASCADE, db_index=False, related_name="+")
    name = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    parameters = models.TextField()
    callback_url = models.TextField(null=True)
    timeout_ms = models.PositiveIntegerField(default=30_000)
    requires_approval = models.BooleanField(default=False)
    hint = models.TextField(null=True)
    sealed_secret = models.TextField(null=True)
    idempotent = models.BooleanField(default=True)
    origin = models.CharField(max_length=8, default="client")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="tool_name_once_per_session", fields=["stream", "name"]),
            models.CheckConstraint(
                name="tool_timeout_in_range", condition=Q(timeout_ms__gte=100, timeout_ms__lte=600_000)
            ),
            models.CheckConstraint(name="tool_origin", condition=Q(origin__in=["client", "operator"])),
        ]

    def __str__(self) -> str:
        return self.name


class ToolCall(models.Model):
    """One call of a run: `id` is the idempotency key of its callback, `provider_id` what the model calls it.

    `args` is what the model asked for, `decided_args` what an approver made of it. `for_client`: an external agent
    addressed the call to the client. `for_agent`: it asks for permission to do the work itself, so that the decision is
    the result. `approval_hint` of a planned call is set when that agent wants a decision first.
    `target_mark` is of the tool that the approver saw, null if each call needs a decision of its own; `remembered`
    decisions stand for later calls of that tool (`tools_app.remembered`).
    `media` counts the images and other attachments of the result, which its message has.
    `epoch` is the lease under which it last began to run. `token_hash` is of the single-use address where a late result
    is posted.
    """

    id = models.CharField(primary_key=True, max_length=40)
    tenant = models.ForeignKey(Tenant, models.CASCADE, db_index=False, related_name="+")
    stream = models.ForeignKey(Stream, models.CASCADE, db_index=False, related_name="+")
    run_id = models.CharField(max_length=40)
    message_id = models.CharField(max_length=40)
    position = models.PositiveIntegerField()
    provider_id = models.TextField()
    tool_name = models.CharField(max_length=200)
    kind = models.CharField(max_length=8, null=True)
    args = models.TextField()
    args_hash = models.CharField(max_length=64)
    for_client = models.BooleanField(default=False, db_default=False)
    for_agent = models.BooleanField(default=False, db_default=False)
    state = models.CharField(max_length=20, default=CallState.PLANNED.value)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    approval_id = models.CharField(max_length=40, null=True, unique=True)
    approval_state = models.CharField(max_length=8, null=True)
    approval_hint = models.TextField(null=True)
    requested_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=200, null=True)
    comment = models.TextField(null=True)
    decided_args = models.TextField(null=True)
    target_mark = models.CharField(max_length=64, null=True)
    remembered = models.BooleanField(default=False, db_default=False)

    ref = models.CharField(max_length=40, null=True, unique=True)
    question = models.TextField(null=True)
    options = models.TextField(null=True)

    token_hash = models.CharField(max_length=64, null=True, unique=True)
    answer_hash = models.CharField(max_length=64, null=True)

    epoch = models.BigIntegerField(null=True)
    starts = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)
    duration_ms = models.PositiveBigIntegerField(null=True)
    status = models.CharField(max_length=8, null=True)
    result = models.TextField(null=True)
    media = models.PositiveSmallIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="call_position_once", fields=["message_id", "position"]),
            models.CheckConstraint(name="call_state", condition=Q(state__in=_values(CallState))),
            models.CheckConstraint(name="call_kind", condition=Q(kind__isnull=True) | Q(kind__in=_values(CallKind))),
            models.CheckConstraint(
                name="call_settled_has_an_outcome",
                condition=(
                    _OPEN & Q(status__isnull=True, result__isnull=True, settled_at__isnull=True)
                    | Q(state=_SETTLED, result__isnull=False, settled_at__isnull=False)
                    & Q(status__in=_values(CallStatus), status__isnull=False)
                ),
            ),
            models.CheckConstraint(
                name="call_approval_whole",
                condition=(
                    Q(approval_id__isnull=True, approval_state__isnull=True)
                    | Q(approval_id__isnull=False, approval_state__isnull=False, requested_at__isnull=False)
                    & Q(approval_state__in=_values(ApprovalState))
                ),
            ),
            models.CheckConstraint(
                name="call_approval_pending_is_awaited",
                condition=(
                    Q(state=CallState.AWAITING_APPROVAL.value, approval_state=ApprovalState.PENDING.value)
                    & Q(approval_state__isnull=False)
                    | ~Q(state=CallState.AWAITING_APPROVAL.value)
                    & (Q(approval_state__isnull=True) | ~Q(approval_state=ApprovalState.PENDING.value))
                ),
            ),
            models.CheckConstraint(
                name="call_question_has_a_ref",
                condition=~Q(state=CallState.AWAITING_ANSWER.value) | Q(ref__isnull=False, question__isnull=False),
            ),
            models.CheckConstraint(
                name="call_accepted_has_an_address",
                condition=~Q(state=CallState.ACCEPTED.value) | Q(token_hash__isnull=False),
            ),
            models.CheckConstraint(
                name="call_wait_has_an_end", condition=~Q(state__in=_values(WAITING)) | Q(expires_at__isnull=False)
            ),
        ]
        indexes = [
            models.Index(name="call_by_run", fields=["run_id"]),
            # What goes with a session is found by its stream; the index of open calls has hardly any of it.
            models.Index(name="call_by_stream", fields=["stream"]),
            models.Index(name="call_open_by_stream", fields=["stream"], condition=_OPEN),
            models.Index(name="call_remembered", fields=["stream", "tool_name"], condition=Q(remembered=True)),
            models.Index(
                name="call_open_by_expiry",
                fields=["expires_at"],
                condition=_OPEN & Q(expires_at__isnull=False),
            ),
            models.Index(
                name="call_for_people",
                fields=["tenant", "expires_at", "id"],
                condition=Q(state__in=_values((CallState.AWAITING_APPROVAL, CallState.AWAITING_ANSWER))),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tool_name} ({self.id})"

    @property
    def is_outside(self) -> bool:
        """True for a call that belongs to no run (`tools_app.outside_calls`)."""
        return self.id.startswith(OUTSIDE_PREFIX)

    @property
    def effective_args(self) -> Any:
        """The arguments that count: an approver's, else the model's; text when the model sent no JSON object."""
        return jsontext.decode(self.decided_args or self.args)
