"""Secrets of API keys. They are generated here, compared by their hash and never stored.

Issued secrets have 256 random bits, so one round of SHA-256 is as safe as a slow hash and takes a microsecond.
"""

from __future__ import annotations

import hashlib
import re

from core_app.ids import mark_cell, new_secret

KIND = "agw"
PREFIX_LENGTH = 12
"""Characters by which a key is recognised, besides the cell's code."""

MAX_TOKEN_LENGTH = 8192
"""The same for tokens of an issuer, which carry claims."""

_JWT = re.compile(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\Z")

MAX_LENGTH = 256
"""Longer secrets are rejected without hashing them: no key has one."""


def secret_new() -> str:
    """Generates a secret: `agw_`, the cell's code if there is one, and 43 URL-safe characters."""
    return new_secret(KIND)


def secret_hash(secret: str) -> str:
    """Returns the SHA-256 of `secret` in hex, as stored in `ApiKey.secret_hash`."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_prefix(secret: str) -> str:
    """Returns the prefix by which people recognise a key: its beginning, and at most a third of the secret."""
    beginning = mark_cell(KIND)
    code = len(beginning) - len(f"{KIND}_") if secret.startswith(beginning) else 0
    return secret[: code + min(PREFIX_LENGTH, (len(secret) - code) // 3)]


def is_well_formed(secret: str) -> bool:
    """True for visible ASCII of at most MAX_LENGTH characters; other texts cannot be keys and are not looked up."""
    return 0 < len(secret) <= MAX_LENGTH and secret.isascii() and secret.isprintable() and " " not in secret


def is_jwt(secret: str) -> bool:
    """True for a text in the form of a JSON Web Token, which is then not looked up as a key."""
    return len(secret) <= MAX_TOKEN_LENGTH and _JWT.match(secret) is not None
