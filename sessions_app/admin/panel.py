"""Figures and tables of this room on the admin's front page: active and failed runs, and calls that wait for people.

Each query reads a bounded number of rows through an index: unfinished runs and open calls have their own indexes,
and of other rows only the newest are read.
"""

from __future__ import annotations

from datetime import timedelta

from django.contrib.admin.utils import quote
from django.db import connection
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from admin_app.access import may, tenant_of
from admin_app.site import Figure, Table
from core_app import clock
from core_app.visible_text import visible_text
from sessions_app.models import AgentSession, Run, RunState
from tenants_app.models import Tenant
from tenants_app.principal import APPROVALS, OPERATOR, SESSIONS_READ
from tools_app.admin import open_waits
from tools_app.models import ToolCall
from tools_app.states import CallState

NEWEST_ROWS = 5_000
"""Limit of the newest rows that are read; a number that reaches it is shown with a plus."""

# The exact condition of the index of unfinished runs: with parameters, SQLite would not use the index.
_UNFINISHED = "SELECT state, COUNT(*) FROM sessions_app_run WHERE state IN ('queued', 'ready', 'running', 'waiting')"
_UNFINISHED_OF_ALL = _UNFINISHED + " GROUP BY state"
_UNFINISHED_OF_TENANT = _UNFINISHED + " AND tenant_id = %s GROUP BY state"

_PANEL_ROWS = 8
_CELL_CHARACTERS = 100


def panel(request: HttpRequest) -> list[Figure | Table]:
    """The figures and tables that the signed-in person may see."""
    tenant = tenant_of(request)
    shown: list[Figure | Table] = []
    if may(request, SESSIONS_READ, OPERATOR):
        shown += _session_figures(tenant)
    if may(request, SESSIONS_READ, OPERATOR, APPROVALS):
        shown += _call_figures(tenant)
    return shown


def _session_figures(tenant: Tenant | None) -> list[Figure | Table]:
    sessions = reverse("admin:sessions_app_agentsession_changelist")
    runs = _unfinished_counts(tenant)
    failures = _recent_failures(tenant)
    failed = failures.count()
    return [
        Figure("running", str(runs.get(RunState.RUNNING, 0)), f"{sessions}?state=working"),
        Figure("queued", str(runs.get(RunState.QUEUED, 0) + runs.get(RunState.READY, 0))),
        Figure("waiting", str(runs.get(RunState.WAITING, 0))),
        Figure("failed in the last hour", _format_count(failed), None, "alarm" if failed else ""),
        Figure("sessions today (UTC)", _sessions_today(tenant), sessions),
        *(_failures_table(failures, sessions) if failed else []),
    ]


def _failures_table(failures: QuerySet[Run], address: str) -> list[Table]:
    """The newest failed runs with their reasons."""
    rows = [
        (
            reverse("admin:sessions_app_agentsession_change", args=[run.session_id]),
            (
                run.session.public_id,
                run.error_code or "",
                visible_text((run.error_reason or "")[:_CELL_CHARACTERS]),
                f"{run.ended_at:%Y-%m-%d %H:%M:%S}",
                run.session.tenant.slug,
            ),
        )
        for run in failures.select_related("session__tenant").order_by("-ended_at")[:_PANEL_ROWS]
    ]
    return [Table("Failed in the last hour", address, ("Session", "Code", "Reason", "Ended (UTC)", "Tenant"), rows)]


def _call_figures(tenant: Tenant | None) -> list[Figure | Table]:
    calls = reverse("admin:tools_app_toolcall_changelist")
    approvals, answers = _waiting_counts(tenant)
    return [
        Figure("approvals to decide", str(approvals), f"{calls}?waiting=approval", "alarm" if approvals else ""),
        Figure("questions to answer", str(answers), f"{calls}?waiting=answer"),
        *_calls_table(tenant, calls),
    ]


def _calls_table(tenant: Tenant | None, address: str) -> list[Table]:
    """The open calls that expire first; no table when there are none."""
    found = _of_tenant(open_waits(ToolCall.objects.select_related("tenant")), tenant).order_by("expires_at")[
        :_PANEL_ROWS
    ]
    rows = [
        (
            reverse("admin:tools_app_toolcall_change", args=[quote(call.pk)]),
            (
                call.tool_name,
                visible_text((call.question or call.args)[:_CELL_CHARACTERS]),
                call.state.replace("_", " "),
                f"{call.expires_at:%Y-%m-%d %H:%M:%S}",
                call.tenant.slug,
            ),
        )
        for call in found
    ]
    heads = ("Tool", "Arguments or question", "State", "Expires (UTC)", "Tenant")
    return [Table("Waiting for somebody", address, heads, rows)] if rows else []


def _unfinished_counts(tenant: Tenant | None) -> dict[str, int]:
    with connection.cursor() as cursor:
        if tenant is None:
            cursor.execute(_UNFINISHED_OF_ALL)
        else:
            cursor.execute(_UNFINISHED_OF_TENANT, [tenant.pk])
        return dict(cursor.fetchall())


def _waiting_counts(tenant: Tenant | None) -> tuple[int, int]:
    counted = _of_tenant(open_waits(ToolCall.objects.all()), tenant).aggregate(
        approvals=Count("pk", filter=Q(state=CallState.AWAITING_APPROVAL)),
        answers=Count("pk", filter=Q(state=CallState.AWAITING_ANSWER)),
    )
    return counted["approvals"], counted["answers"]


def _sessions_today(tenant: Tenant | None) -> str:
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return _format_count(
        _newest_rows(_of_tenant(AgentSession.objects.all(), tenant)).filter(created_at__gte=midnight).count()
    )


def _recent_failures(tenant: Tenant | None) -> QuerySet[Run]:
    since = clock.now() - timedelta(hours=1)
    return _of_tenant(_newest_rows(Run.objects.all()), tenant).filter(state=RunState.FAILED, ended_at__gte=since)


def _newest_rows(rows: QuerySet) -> QuerySet:  # type: ignore[type-arg]
    """The newest NEWEST_ROWS rows, from a primary key on: with the list of ids PostgreSQL would choose a hash join."""
    before = list(rows.order_by("-pk").values_list("pk", flat=True)[NEWEST_ROWS : NEWEST_ROWS + 1])
    return rows.filter(pk__gt=before[0]) if before else rows


def _of_tenant(rows: QuerySet, tenant: Tenant | None) -> QuerySet:  # type: ignore[type-arg]
    return rows if tenant is None else rows.filter(tenant=tenant)


def _format_count(number: int) -> str:
    return f"{number}+" if number >= NEWEST_ROWS else str(number)
