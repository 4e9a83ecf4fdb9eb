"""Idempotent POST requests: a repeated `Idempotency-Key` gets the first response (docs/protocol-native.md).

A request claims its record first, and completes it in the transaction of its own changes, or releases it on failure so
that a retry may succeed. After a crash before the commit nothing was changed, and another request may take over the
claim after CLAIM_LIFETIME; after a crash behind the commit the response is stored. Records are removed after
RECORD_LIFETIME. Ages are by the database's clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from core_app.database import database_moment, write_transaction
from core_app.errors import BadRequest, Conflict, RateLimited, Unprocessable
from core_app.ids import new_id
from core_app.metrics import RATE_LIMITED
from tenants_app.models import IdempotencyRecord
from tenants_app.stored_responses import STORED_RESPONSES

RECORD_LIFETIME = timedelta(hours=24)
CLAIM_LIFETIME = timedelta(seconds=90)
"""Longer than any request takes: `?wait=` is at most 60 seconds."""

_MAX_KEY, _MAX_ROUTE = 255, 300
_FULL = (
    "{} responses are stored for the tenant's requests with an Idempotency-Key"
    " (GATEWAY_MAX_STORED_RESPONSES_PER_TENANT), each for a day: repeat without the header, or later."
)


@dataclass(frozen=True, slots=True)
class Replay:
    """A stored response."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to process the request; `idempotency_complete` or `idempotency_release` ends it."""

    record_id: int
    name: str


def idempotency_begin(*, tenant_id: int, key: str, route: str, body: bytes) -> Claim | Replay:
    """Returns a claim for the first request, the stored response for a repeated one.

    Raises BadRequest for a key that is not 1 to 255 visible ASCII characters, Unprocessable when the key was used with
    another body, Conflict while the first request is still being processed, RateLimited when the tenant has too many
    stored responses already.
    """
    if not 0 < len(key) <= _MAX_KEY or not key.isascii() or not key.isprintable():
        raise BadRequest("Idempotency-Key has 1 to 255 visible ASCII characters.", field="Idempotency-Key")
    digest, name = hashlib.sha256(body).hexdigest(), new_id("clm")
    route = _shorten_route(route)
    fresh = IdempotencyRecord(tenant_id=tenant_id, key=key, route=route, body_hash=digest, claim=name, created_at=Now())
    known = IdempotencyRecord.objects.filter(tenant_id=tenant_id, key=key, route=route)
    if STORED_RESPONSES.is_full(tenant_id) and not known.exists():
        RATE_LIMITED.inc()
        raise RateLimited(_FULL.format(settings.GATEWAY_MAX_STORED_RESPONSES_PER_TENANT), retry_after=60)
    with write_transaction():
        IdempotencyRecord.objects.bulk_create([fresh], ignore_conflicts=True)
        record = known.select_for_update().get()
        if record.claim == name:
            return Claim(record.id, name)
        return _take_over(record, digest, name) or _replay(record, digest)


def idempotency_complete(*, claim: Claim, status: int, headers: Mapping[str, str], body: str) -> None:
    """Stores the response, in the transaction of the request's own changes where there is one.

    Raises Conflict when another request took over the claim meanwhile, so that the changes are not made twice.
    """
    with write_transaction():
        kept = IdempotencyRecord.objects.filter(id=claim.record_id, claim=claim.name).update(
            state="done", status=status, headers=dict(headers), body=body
        )
        if not kept:
            raise Conflict("Another request with this Idempotency-Key has taken over.")


def idempotency_release(*, claim: Claim) -> None:
    """Removes the claim of a failed request; a stored response stays."""
    with write_transaction():
        IdempotencyRecord.objects.filter(id=claim.record_id, claim=claim.name, state="pending").delete()


def idempotency_purge(*, limit: int = 1000) -> int:
    """Removes up to `limit` records older than RECORD_LIFETIME and returns their number."""
    with write_transaction():
        old = IdempotencyRecord.objects.filter(created_at__lt=database_moment() - RECORD_LIFETIME).values_list(
            "id", flat=True
        )
        return IdempotencyRecord.objects.filter(id__in=list(old[:limit])).delete()[0]


def idempotency_erase(*, tenant_id: int, path: str | None = None) -> None:
    """Removes the tenant's stored responses: all, or those at or below a path or with the path as their Location."""
    records = IdempotencyRecord.objects.filter(tenant_id=tenant_id)
    if path is not None:
        at_or_below = Q(route=f"POST {path}") | Q(route__startswith=f"POST {path}/")
        records = records.filter(at_or_below | Q(headers__Location=path))
    with write_transaction():
        records.delete()


def _take_over(record: IdempotencyRecord, digest: str, name: str) -> Claim | None:
    moment = database_moment()
    age = moment - record.created_at
    if age < (CLAIM_LIFETIME if record.state == "pending" else RECORD_LIFETIME):
        return None
    record.body_hash, record.claim, record.created_at = digest, name, moment
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
