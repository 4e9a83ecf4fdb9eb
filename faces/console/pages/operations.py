"""Operations: for a tenant's operator the queue, failures and webhooks of the tenant; for the gateway's own operator
(scope `platform`) those of all tenants, and the providers, workers and internal errors of the gateway.

Every query reads a bounded number of rows. Provider states, circuits, followers and internal errors are those that the
process knows which serves the page; the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from core_app.visible_text import visible_text
from edge_app.http.recent_errors import RECENT_ERRORS
from edge_app.sockets.open_sockets import SOCKETS
from events_app.hub import HUB
from events_app.webhooks.selectors import deliveries_failed, deliveries_pending
from faces.console.page import Page, Visit
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.health import health_report
from inference_app.providers.stats import STATS
from sessions_app.legs.runner import RUNNER
from sessions_app.operations import leg_owners, queue_jobs, queue_workers, run_counts, run_failures, run_oldest
from tenants_app.principal import OPERATOR, PLATFORM

LISTED = 20


@dataclass(frozen=True, slots=True)
class ShownProvider:
    """A provider with its state in words, its circuits that are not closed, and its recent calls."""

    name: str
    available: bool
    summary: str
    circuits: list[tuple[str, str]]
    requests: int
    failed_attempts: int
    p95_ms: float | None
    last_error: str


def _context(visit: Visit) -> Mapping[str, Any]:
    platform = visit.principal.allows(PLATFORM)
    tenant_id = None if platform else visit.principal.tenant_id
    return {
        "platform": platform,
        "runs": run_counts(tenant_id),
        "oldest": run_oldest(tenant_id),
        "failures": run_failures(tenant_id, LISTED),
        "deliveries": deliveries_failed(tenant_id, LISTED),
        "pending": deliveries_pending(tenant_id),
        **(_platform_context() if platform else {}),
    }


def _platform_context() -> Mapping[str, Any]:
    return {
        "providers": _providers(),
        "owners": leg_owners(),
        "workers": queue_workers(),
        "jobs": queue_jobs(),
        "processes": STATS.process_count(),
        "followers": HUB.follower_count,
        "sockets": SOCKETS.count,
        "legs": RUNNER.running,
        "errors": RECENT_ERRORS.newest(LISTED),
    }


def _providers() -> list[ShownProvider]:
    """Returns what is known without a request: the usable ones first."""
    report, known = health_report(), STATS.providers()
    circuits: dict[str, list[tuple[str, str]]] = {}
    for candidate in CIRCUITS:
        state = CIRCUITS.state(candidate)
        if state != "CLOSED":
            circuits.setdefault(candidate.provider, []).append((candidate.model, state.replace("_", " ").lower()))
    shown = []
    for available, key in ((True, "providers_available"), (False, "providers_unavailable")):
        for entry in report[key]:
            wire = known[entry["name"]].to_wire() if entry["name"] in known else {}
            shown.append(
                ShownProvider(
                    entry["name"],
                    available,
                    entry["summary"],
                    sorted(circuits.get(entry["name"], [])),
                    wire.get("requests", 0),
                    wire.get("failed_attempts", 0),
                    wire.get("p95_latency_ms"),
                    visible_text(wire.get("last_error") or ""),
                )
            )
    # Providers without a key are many, and say the same: those with calls or faults of their own come first.
    return sorted(shown, key=lambda one: (not one.available, not one.requests, one.name))


PAGE = Page(
    name="operations",
    route="operations",
    title=_("Operations"),
    template="console/operations.html",
    script="operations.js",
    style="charts.css",
    context=_context,
    scopes=(OPERATOR,),
)
