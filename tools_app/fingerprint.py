"""The fingerprint that compares JSON values: `argsHash` of approvals, and repeated decisions."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from core_app import jsontext


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON: keys sorted, no spaces."""
    canonical = orjson.dumps(jsontext.decode(jsontext.encode(value)), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()
