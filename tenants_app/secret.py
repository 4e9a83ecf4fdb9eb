"""Secrets of API keys. They are generated here, compared by their hash and never stored.

Issued secrets have 256 random bits, so one round of SHA-256 is as safe as a slow hash and takes a microsecond.
"""

from __future__ import annotations

import hashlib
import secrets

PREFIX_LENGTH = 12
MAX_LENGTH = 256
"""Longer secrets are rejected without hashing them: no key has one."""


def secret_new() -> str:
    """Generates a secret: `agw_` and 43 URL-safe characters."""
    return f"agw_{secrets.token_urlsafe(32)}"


def secret_hash(secret: str) -> str:
    """Returns the SHA-256 of `secret` in hex, as stored in `ApiKey.secret_hash`."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_prefix(secret: str) -> str:
    """Returns the prefix by which people recognise a key: at most twelve characters and a third of the secret."""
    return secret[: min(PREFIX_LENGTH, len(secret) // 3)]


def is_well_formed(secret: str) -> bool:
    """True for visible ASCII of at most MAX_LENGTH characters; other texts cannot be keys and are not looked up."""
    return 0 < len(secret) <= MAX_LENGTH and secret.isascii() and secret.isprintable() and " " not in secret
