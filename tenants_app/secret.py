"""The secrets of API keys: made here, recognised by their hash, never kept.

Issued secrets carry 256 random bits, so one round of SHA-256 is as good as a slow hash and costs a microsecond.
"""

from __future__ import annotations

import hashlib
import secrets

PREFIX_LENGTH = 12
MAX_LENGTH = 256
"""Longer ones are refused unread: nobody has one, and hashing is work."""


def secret_new() -> str:
    """`agw_` and 43 URL-safe characters."""
    return f"agw_{secrets.token_urlsafe(32)}"


def secret_hash(secret: str) -> str:
    """The SHA-256 of `secret` in hex, as `ApiKey.secret_hash` holds it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_prefix(secret: str) -> str:
    """What people recognise a key by: at most twelve characters and never more than a third of it."""
    return secret[: min(PREFIX_LENGTH, len(secret) // 3)]


def is_well_formed(secret: str) -> bool:
    """Visible ASCII of a sensible length; anything else cannot be a key and is not looked up."""
    return 0 < len(secret) <= MAX_LENGTH and secret.isascii() and secret.isprintable() and " " not in secret
