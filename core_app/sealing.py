"""Secrets at rest: sealed with a key derived from GATEWAY_SECRET_KEY, so that a copied database tells none.

While GATEWAY_SECRET_KEY_FALLBACKS names a former key, what was sealed under it can still be opened; everything is
sealed under the present one, and `manage.py reseal` brings the rest there. A secret that no key opens is said to be so
with a sentence naming the setting.
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
    """32 bytes that only this deployment can compute; different for each `purpose`."""
    return _derived(settings.SECRET_KEY, purpose)


def derive_former_keys(purpose: str) -> list[bytes]:
    """The same under each key of GATEWAY_SECRET_KEY_FALLBACKS."""
    return [_derived(key, purpose) for key in settings.SECRET_KEY_FALLBACKS]


def seal(secret: str) -> str:
    """`secret`, encrypted and authenticated."""
    return _box(settings.SECRET_KEY).encrypt(secret.encode()).decode("ascii")


def unseal(sealed: str) -> str:
    """The secret again."""
    boxes = [_box(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    try:
        return MultiFernet(boxes).decrypt(sealed.encode("ascii")).decode()
    except InvalidToken:
        raise Unprocessable("The secret was stored under another GATEWAY_SECRET_KEY; set it again.") from None


def reseal(sealed: str) -> str | None:
    """The same secret under the present key; None when it is there already. Raises as `unseal`."""
    try:
        _box(settings.SECRET_KEY).decrypt(sealed.encode("ascii"))
    except InvalidToken:
        return seal(unseal(sealed))
    return None


def _derived(key: str, purpose: str) -> bytes:
    return hmac.new(key.encode(), f"agent-gateway:{purpose}".encode(), hashlib.sha256).digest()


@lru_cache(maxsize=8)
def _box(key: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_derived(key, "sealing")))
