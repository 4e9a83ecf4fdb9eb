"""Encryption of secrets at rest, with a key derived from GATEWAY_SECRET_KEY: a copied database reveals none.

Secrets are sealed under the present key. Those sealed under a key of GATEWAY_SECRET_KEY_FALLBACKS can still be opened,
and `gateway reseal` seals them anew. A secret that no key opens raises an error that names the setting.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from core_app.errors import Unprocessable


def derive_key(purpose: str) -> bytes:
    """Derives 32 bytes that only this deployment can compute; different for each `purpose`."""
    return _hmac(settings.SECRET_KEY, purpose)


def derive_former_keys(purpose: str) -> list[bytes]:
    """Derives the same from each key of GATEWAY_SECRET_KEY_FALLBACKS."""
    return [_hmac(key, purpose) for key in settings.SECRET_KEY_FALLBACKS]


def seal(secret: str) -> str:
    """Encrypts and authenticates `secret`."""
    return _fernet(settings.SECRET_KEY).encrypt(secret.encode()).decode("ascii")


def unseal(sealed: str) -> str:
    """Decrypts a sealed secret; Unprocessable when no key opens it."""
    keys = [_fernet(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    try:
        return MultiFernet(keys).decrypt(sealed.encode("ascii")).decode()
    except InvalidToken:
        raise Unprocessable("The secret was stored under another GATEWAY_SECRET_KEY; set it again.") from None


def reseal(sealed: str) -> str | None:
    """Seals a sealed secret under the present key; None when it is so already. Raises as `unseal`."""
    try:
        _fernet(settings.SECRET_KEY).decrypt(sealed.encode("ascii"))
    except InvalidToken:
        return seal(unseal(sealed))
    return None


def _hmac(key: str, purpose: str) -> bytes:
    return hmac.new(key.encode(), f"agent-gateway:{purpose}".encode(), hashlib.sha256).digest()


@lru_cache(maxsize=8)
def _fernet(key: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_hmac(key, "sealing")))
