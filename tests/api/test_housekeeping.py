"""Housekeeping of the process: it deletes old idempotency records, and closes its connections when it ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core_app import clock, database
from gateway_project.process.lifecycle import GATEWAY
from sessions_app.legs.sweep import Sweep
from tenants_app.limits import RATE_LIMITS
from tenants_app.models import IdempotencyRecord, Tenant
from tenants_app.services.idempotency import RECORD_LIFETIME

pytestmark = pytest.mark.django_db(transaction=True)


def record_make(tenant: Tenant, key: str) -> None:
    created = clock.now() - RECORD_LIFETIME - timedelta(minutes=1)
    IdempotencyRecord.objects.create(
        tenant=tenant, key=key, route="POST /x", body_hash="", claim=key, created_at=created
    )


async def test_old_idempotency_records_are_forgotten_once_a_minute(tenant: Tenant) -> None:
    sweep = Sweep()
    await database.run(record_make, tenant, "first")
    await sweep.purge()
    assert await database.run(IdempotencyRecord.objects.count) == 0
    await database.run(record_make, tenant, "second")
    await sweep.purge()
    assert await database.run(IdempotencyRecord.objects.count) == 1


async def test_the_end_of_the_process_closes_the_connections_of_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    monkeypatch.setattr(RATE_LIMITS, "close", close)
    await GATEWAY.start()
    await GATEWAY.stop()
    assert closed == [True]
