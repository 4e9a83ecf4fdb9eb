"""`python -m tests.benchmarks.quiet_retention SESSIONS`: fills the database of the environment with sessions whose old
events are gone, and prints as JSON what two rounds of retention cost that find nothing to remove."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta

import django


def main(sessions: int) -> None:
    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from sessions_app.services.retention import retention_apply
    from tenants_app.models import Tenant

    call_command("migrate", verbosity=0)
    tenant = Tenant.objects.create(slug="quiet", settings={"retention_events_days": 7})
    fill(tenant.pk, sessions)
    rounds = []
    for _ in range(2):
        began = time.perf_counter()
        with CaptureQueriesContext(connection) as asked:
            removed = retention_apply(tenant=tenant)
        assert not removed.events
        rounds.append({"queries": len(asked), "seconds": time.perf_counter() - began})
    print(json.dumps(rounds))


def fill(tenant_id: int, sessions: int) -> None:
    """Creates closed books: one ended run for each session, and a floor at its last event."""
    from core_app import clock
    from events_app.models import Stream
    from sessions_app.models import AgentSession, Run, RunState

    ended = clock.now() - timedelta(days=30)
    streams = Stream.objects.bulk_create([Stream(kind="session", head=2, floor=2) for _ in range(sessions)])
    made = AgentSession.objects.bulk_create(
        [
            AgentSession(tenant_id=tenant_id, public_id=f"s-{number}", stream=stream, engine="demo", model="demo:echo")
            for number, stream in enumerate(streams)
        ]
    )
    Run.objects.bulk_create([
        Run(
            tenant_id=tenant_id, session=session, number=1, text="go", state=RunState.COMPLETED, first_offset=1,
            last_offset=2, ended_at=ended + timedelta(seconds=number),
        )
        for number, session in enumerate(made)
    ])  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]))
