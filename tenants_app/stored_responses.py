"""Limit of the responses that are stored for a tenant's requests with an `Idempotency-Key`.

Each is a row for a day. Counting them costs in proportion to their number, so a process looks once in a while and
counts its own requests in between: the limit is approximate, by LOOK_EVERY for each process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings

from core_app.lifecycle import process_wide
from tenants_app.models import IdempotencyRecord

LOOK_EVERY = 500
"""Requests of a tenant that one process accepts between two looks."""

FULL_SECONDS = 10.0
"""Pause between looks at a tenant that is at its limit."""


class StoredResponses:
    """The tenants at their limit, and for the others the requests until this process looks again."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._before_look: dict[int, int] = {}
        self._full_until: dict[int, float] = {}

    def is_full(self, tenant_id: int) -> bool:
        """Counts a request; True when the tenant has as many stored responses as it may."""
        limit = settings.GATEWAY_MAX_STORED_RESPONSES_PER_TENANT
        if limit <= 0:
            return False
        if self._monotonic() < self._full_until.get(tenant_id, 0.0):
            return True
        left = self._before_look.get(tenant_id, 0)
        if left > 0:
            self._before_look[tenant_id] = left - 1
            return False
        return self._look(tenant_id, limit)

    def forget(self) -> None:
        """Looks anew at every tenant's next request."""
        self._before_look.clear()
        self._full_until.clear()

    def _look(self, tenant_id: int, limit: int) -> bool:
        stored = IdempotencyRecord.objects.filter(tenant_id=tenant_id)[:limit].count()
        if stored >= limit:
            self._full_until[tenant_id] = self._monotonic() + FULL_SECONDS
            return True
        self._before_look[tenant_id] = min(LOOK_EVERY, limit - stored) - 1
        return False


STORED_RESPONSES = process_wide(StoredResponses(), reset=StoredResponses.forget)
"""Process-wide instance."""
