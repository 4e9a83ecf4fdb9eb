"""The same POST twice: the first answer again (native contract, `Idempotency-Key`).

A record is claimed before the work and completed in the work's own transaction, or released when the work failed, so
that a retry may succeed. What crashes before its commit has done nothing, and its claim can be taken over after
CLAIM_LIFETIME; what crashes after it has its answer kept. A record is forgotten after RECORD_LIFETIME.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, Unprocessable
from core_app.ids import new_id
from tenants_app.models import IdempotencyRecord

RECORD_LIFETIME = timedelta(hours=24)
CLAIM_LIFETIME = timedelta(seconds=90)
"""Longer than any request of the contract takes: `?wait=` is 60 seconds at most."""

_MAX_KEY, _MAX_ROUTE = 255, 300


@dataclass(frozen=True, slots=True)
class Replay:
    """A stored answer."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer first; it is given back to `idempotency_complete` or `idempotency_release`."""

    record_id: int
    name: str


def idempotency_begin(*, tenant_id: int, key: str, route: str, body: bytes) -> Claim | Replay:
    """A claim for the first request, the answer for a repeated one.

    Raises BadRequest for a key that is not 1 to 255 visible ASCII characters, Unprocessable when the key came with
    another body, Conflict while the first is still being answered.
    """
    if not 0 < len(key) <= _MAX_KEY or not key.isascii() or not key.isprintable():
        raise BadRequest("Idempotency-Key has 1 to 255 visible ASCII characters.", field="Idempotency-Key")
    digest, name = hashlib.sha256(body).hexdigest(), new_id("claim")
    route = _shorten_route(route)
    fresh = IdempotencyRecord(
        tenant_id=tenant_id, key=key, route=route, body_hash=digest, claim=name, created_at=clock.now()
    )
    with write_transaction():
        IdempotencyRecord.objects.bulk_create([fresh], ignore_conflicts=True)
        record = IdempotencyRecord.objects.select_for_update().get(tenant_id=tenant_id, key=key, route=route)
        if record.claim == name:
            return Claim(record.id, name)
        return _take_over(record, digest, name) or _replay(record, digest)


def idempotency_complete(*, claim: Claim, status: int, headers: Mapping[str, str], body: str) -> None:
    """Keeps the answer, in the transaction of the work where there is one.

    Raises Conflict when the claim was taken over meanwhile: the work is somebody else's, and must not be done twice.
    """
    with write_transaction():
        kept = IdempotencyRecord.objects.filter(id=claim.record_id, claim=claim.name).update(
            state="done", status=status, headers=dict(headers), body=body
        )
        if not kept:
            raise Conflict("Another request with this Idempotency-Key has taken over.")


def idempotency_release(*, claim: Claim) -> None:
    """Forgets the claim of a request that failed; an answer that was kept stays."""
    with write_transaction():
        IdempotencyRecord.objects.filter(id=claim.record_id, claim=claim.name, state="pending").delete()


def idempotency_purge(*, limit: int = 1000) -> int:
    """Removes up to `limit` records older than RECORD_LIFETIME; says how many, so that housekeeping may go on."""
    with write_transaction():
        old = IdempotencyRecord.objects.filter(created_at__lt=clock.now() - RECORD_LIFETIME).values_list(
            "id", flat=True
        )
        return IdempotencyRecord.objects.filter(id__in=list(old[:limit])).delete()[0]


def idempotency_erase(*, tenant_id: int, path: str | None = None) -> None:
    """Forgets the tenant's answers: those at a path, below it or with it as their Location, or all of them."""
    records = IdempotencyRecord.objects.filter(tenant_id=tenant_id)
    if path is not None:
        at_or_below = Q(route=f"POST {path}") | Q(route__startswith=f"POST {path}/")
        records = records.filter(at_or_below | Q(headers__Location=path))
    with write_transaction():
        records.delete()


def _take_over(record: IdempotencyRecord, digest: str, name: str) -> Claim | None:
    age = clock.now() - record.created_at
    if age < (CLAIM_LIFETIME if record.state == "pending" else RECORD_LIFETIME):
        return None
    record.body_hash, record.claim, record.created_at = digest, name, clock.now()
    record.state, record.status, record.headers, record.body = "pending", None, {}, ""
    record.save()
    return Claim(record.id, name)


def _replay(record: IdempotencyRecord, digest: str) -> Replay:
    if record.body_hash != digest:
        raise Unprocessable("This Idempotency-Key was used with another body.", field="Idempotency-Key")
    if record.state == "pending" or record.status is None:
        raise Conflict("The first request with this Idempotency-Key is still being answered.")
    return Replay(record.status, record.headers, record.body)


def _shorten_route(route: str) -> str:
    return route if len(route) <= _MAX_ROUTE else hashlib.sha256(route.encode("utf-8", "replace")).hexdigest()
