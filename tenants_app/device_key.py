"""Public keys of devices and the signatures that they check: Ed25519 (RFC 8032).

A key comes as base64 of its 32 bytes, or as the line of an OpenSSH public key file.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from core_app.errors import BadRequest

KEY_BYTES = 32
SIGNATURE_BYTES = 64
MAX_TEXT = 1000
"""Characters of a key's text; an OpenSSH line ends in a comment of any length."""

_EXPECTED = "'public_key' is an Ed25519 key: base64 of its 32 bytes, or an OpenSSH line that begins with 'ssh-ed25519'."


def public_key_parse(text: str) -> str:
    """Returns the key's 32 bytes in base64; raises BadRequest for anything else."""
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise BadRequest(_EXPECTED, field="public_key")
    raw = _openssh_bytes(text) if text.startswith("ssh-") else base64_bytes(text)
    if raw is None or len(raw) != KEY_BYTES:
        raise BadRequest(_EXPECTED, field="public_key")
    return base64.b64encode(raw).decode()


def signature_is_valid(public_key: str, message: bytes, signature: str) -> bool:
    """True when `signature` (base64) is that of `message` by `public_key` (base64)."""
    raw = base64_bytes(signature)
    if raw is None or len(raw) != SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key)).verify(raw, message)
    except InvalidSignature:
        return False
    return True


def base64_bytes(text: str) -> bytes | None:
    """Returns the bytes of base64, standard or URL-safe, with or without padding; None for other texts."""
    bare = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _openssh_bytes(text: str) -> bytes | None:
    try:
        key = load_ssh_public_key(text.encode())
    except ValueError:
        return None
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else None
