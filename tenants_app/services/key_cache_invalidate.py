"""Takes changed keys and tenants out of this process's cache."""

from __future__ import annotations

from django.db import transaction

from tenants_app.key_cache import KEY_CACHE


def keys_forget() -> None:
    """Called inside the change's transaction: at once, and again when it is committed.

    The second time is for a request that looked the key up in between and saw its old row.
    """
    KEY_CACHE.clear()
    transaction.on_commit(KEY_CACHE.clear)
