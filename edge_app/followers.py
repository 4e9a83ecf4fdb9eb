"""Limits on open streams per tenant in this process.

The rate limit counts the request for a stream once, however long it lasts, so streams have a limit of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from core_app.errors import RateLimited
from core_app.lifecycle import process_wide
from tenants_app.principal import Principal


class Followers:
    """The number of open streams by tenant. Belongs to the loop."""

    def __init__(self) -> None:
        self._open: Counter[int] = Counter()

    @contextmanager
    def track(self, principal: Principal) -> Iterator[None]:
        """Counts a stream while the block runs. Raises RateLimited at GATEWAY_MAX_FOLLOWERS_PER_TENANT."""
        limit = settings.GATEWAY_MAX_FOLLOWERS_PER_TENANT
        if self._open[principal.tenant_id] >= limit:
            raise RateLimited(f"The tenant has {limit} open streams (GATEWAY_MAX_FOLLOWERS_PER_TENANT).", retry_after=5)
        self._open[principal.tenant_id] += 1
        try:
            yield
        finally:
            self._open[principal.tenant_id] -= 1


FOLLOWERS = process_wide(Followers())
"""Process-wide instance."""
