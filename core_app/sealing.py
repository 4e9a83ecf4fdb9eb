"""Secrets at rest: sealed with a key derived from GATEWAY_SECRET_KEY, so that a copied database tells none.

A secret that was sealed under another key cannot be opened: `unseal` says so with a sentence naming the setting.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from core_app.errors import Unprocessable


def derived(purpose: str) -> bytes:
    """32 bytes that only this deployment can compute; different for each `purpose`."""
    return hmac.new(settings.SECRET_KEY.encode(), f"agent-gateway:{purpose}".encode(), hashlib.sha256).digest()


def seal(secret: str) -> str:
    """`secret`, encrypted and authenticated."""
    return _box(settings.SECRET_KEY).encrypt(secret.encode()).decode("ascii")


def unseal(sealed: str) -> str:
    """The secret again."""
    try:
        return _box(settings.SECRET_KEY).decrypt(sealed.encode("ascii")).decode()
    except InvalidToken:
        raise Unprocessable("The secret was stored under another GATEWAY_SECRET_KEY; set it again.") from None


@lru_cache(maxsize=2)
def _box(secret_key: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derived("sealing")))
