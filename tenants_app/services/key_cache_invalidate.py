"""Invalidation of this process's caches of keys and token issuers after a change, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction

from core_app.lifecycle import process_wide
from tenants_app.jwt_issuers import ISSUERS
from tenants_app.key_cache import KEY_CACHE

Listener = Callable[[], None]


class KeyListeners:
    """Those who are told when a key, user, device or tenant has changed: what is open may have to be closed."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add(self, listener: Listener) -> None:
        """Calls `listener` after each commit of a change, in the thread of the change; it must neither wait nor
        raise."""
        self._listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Calls it no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def tell(self) -> None:
        """Calls the listeners."""
        for listener in list(self._listeners):
            listener()


KEY_LISTENERS = process_wide(KeyListeners())
"""Process-wide instance."""


def keys_forget() -> None:
    """Clears the caches now and again after commit; called inside the transaction that changes a key.

    The second time removes what a concurrent request read before the commit.
    """
    caches_clear()
    transaction.on_commit(_forget_after_commit)


def caches_clear() -> None:
    """Forgets the keys and issuers that this process has looked up."""
    KEY_CACHE.clear()
    ISSUERS.clear()


def _forget_after_commit() -> None:
    caches_clear()
    KEY_LISTENERS.tell()
