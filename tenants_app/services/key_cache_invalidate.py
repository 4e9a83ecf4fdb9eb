"""Invalidation of this process's key cache after keys, users or tenants change."""

from __future__ import annotations

from django.db import transaction

from tenants_app.key_cache import KEY_CACHE


def keys_forget() -> None:
    """Clears the cache now and again after commit; called inside the transaction that changes a key.

    The second time removes what a concurrent request read before the commit.
    """
    KEY_CACHE.clear()
    transaction.on_commit(KEY_CACHE.clear)
