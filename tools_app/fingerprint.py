"""The fingerprint that compares JSON values: `argsHash` of approvals, and repeated decisions."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import orjson

from core_app import jsontext


def fingerprint(value: Any) -> str:
    """Returns the SHA-256 (hex) of the canonical JSON: keys sorted, no spaces."""
    return hashlib.sha256(_canonical(jsontext.decode(jsontext.encode(value)))).hexdigest()


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits
        return msgspec.json.encode(value, order="sorted")
