"""Ids of tool calls: they carry a provider's signature through the client, and fit the form that a target takes.

Gemini refuses a conversation whose calls have lost their thought signature. The id is the only field of a call that
every client returns unchanged, so a client gets `<id>__sig0__<signature>`; `split_call_id` recovers both, and no
provider ever sees the longer id. An id of another form becomes a hash of it, the same in every request of a
conversation.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from functools import lru_cache

from inference_app.catalogue.limits import CallIdForm

_BASE64, _TEXT = "__sig0__", "__sig1__"
"""Marks before a signature: the first for one that is base64 itself, so that it does not grow."""

_SIGNED = re.compile(r"(.*?)__sig([01])__([A-Za-z0-9_-]+)\Z", re.DOTALL)
_ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HASH = 8


def sign_call_id(call_id: str, signature: str) -> str:
    """Returns the client's id of a call with a signature."""
    try:
        raw = base64.b64decode(signature, validate=True)
        canonical = base64.b64encode(raw).decode() == signature
    except (binascii.Error, ValueError):
        raw, canonical = b"", False
    if canonical and raw:
        return f"{call_id}{_BASE64}{_url_safe(raw)}"
    return f"{call_id}{_TEXT}{_url_safe(signature.encode('utf-8', 'surrogatepass'))}"


def split_call_id(call_id: str) -> tuple[str, str | None]:
    """Returns the provider's id of a call, and the signature that the client's id carries."""
    if "__sig" not in call_id or (found := _SIGNED.match(call_id)) is None:
        return call_id, None
    own, kind, text = found.groups()
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return own, base64.b64encode(raw).decode() if kind == "0" else raw.decode("utf-8", "surrogatepass")
    except ValueError:
        return call_id, None


@lru_cache(maxsize=4096)
def fit_call_id(call_id: str, form: CallIdForm) -> str:
    """Returns the id in a target's form."""
    if form.accepts(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "replace"))
    if form.exact or form.alphanumeric:
        return _digits(int.from_bytes(digest.digest(), "big"), form.length or 32)
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", call_id)
    if form.length is not None:
        plain = plain[: form.length - _HASH - 1]
    return f"{plain}_{digest.hexdigest()[:_HASH]}"


def _digits(number: int, length: int) -> str:
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHANUMERIC))
        letters.append(_ALPHANUMERIC[digit])
    return "".join(letters)


def _url_safe(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
