"""Invalidation of this process's caches of keys and token issuers after keys, users or tenants change."""

from __future__ import annotations

from django.db import transaction

from tenants_app.jwt_issuers import ISSUERS
from tenants_app.key_cache import KEY_CACHE


def keys_forget() -> None:
    """Clears the caches now and again after commit; called inside the transaction that changes a key.

    The second time removes what a concurrent request read before the commit.
    """
    _clear()
    transaction.on_commit(_clear)


def _clear() -> None:
    KEY_CACHE.clear()
    ISSUERS.clear()
