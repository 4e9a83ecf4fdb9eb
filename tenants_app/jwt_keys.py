"""Signing keys of token issuers: JWK sets, fetched from an operator's address and cached.

A set is fetched when it is first needed, when it is old, and when a token names a key that it does not have, because
issuers rotate their keys; the last at most once per REFETCH_SECONDS, so that made-up names cause no load. While the
address does not answer, the set that is known stays in force until it is too old.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWTError

from core_app import jsontext
from core_app.errors import GatewayError, Unavailable
from core_app.guarded_client import CLIENT, CallFailed
from core_app.lifecycle import process_wide

FRESH_SECONDS = 600.0
"""Age after which a set is fetched again."""

STALE_SECONDS = 86_400.0
"""Age up to which a set counts while its address does not answer: a key that was withdrawn is good no longer."""

REFETCH_SECONDS = 30.0
"""Shortest pause between two fetches of one address, failed ones included."""

FETCH_SECONDS = 5.0
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
MAX_ADDRESSES = 1000
"""Addresses that a process remembers; the one that was used longest ago is forgotten first."""

ALGORITHMS = ("RS256", "ES256")

logger = structlog.get_logger("gateway.jwt")


@dataclass(slots=True)
class _KeySet:
    """The keys of one address by id, the time of the last good fetch, and that of the last try."""

    keys: Mapping[str | None, PyJWK] = field(default_factory=dict)
    fetched_at: float | None = None
    tried_at: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class JwkSets:
    """The key sets of this process by address. Belongs to the loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sets: OrderedDict[str, _KeySet] = OrderedDict()

    def reset(self) -> None:
        """Forgets all sets."""
        self._sets.clear()

    async def key(self, url: str, key_id: str | None) -> PyJWK | None:
        """Returns the issuer's key of this id; None when it has none. A token without an id means the only key. Raises
        Unavailable while no set can be had."""
        known = self._sets.setdefault(url, _KeySet())
        self._sets.move_to_end(url)
        if len(self._sets) > MAX_ADDRESSES:
            self._sets.popitem(last=False)
        if self._age(known.fetched_at) > FRESH_SECONDS or _choose(known.keys, key_id) is None:
            async with known.lock:
                await self._refresh(url, known, key_id)
        if self._age(known.fetched_at) > STALE_SECONDS:
            raise Unavailable("The keys of the token's issuer cannot be read; try again.", retry_after=5)
        return _choose(known.keys, key_id)

    async def _refresh(self, url: str, known: _KeySet, key_id: str | None) -> None:
        fresh = self._age(known.fetched_at) <= FRESH_SECONDS and _choose(known.keys, key_id) is not None
        if fresh or self._age(known.tried_at) < REFETCH_SECONDS:
            return
        known.tried_at = self._clock()
        try:
            known.keys = await _fetch(url)
        except (CallFailed, GatewayError, PyJWTError, ValueError) as error:
            logger.warning("jwks_unavailable", url=url, error=type(error).__name__)
        else:
            known.fetched_at = self._clock()

    def _age(self, moment: float | None) -> float:
        return float("inf") if moment is None else self._clock() - moment


def _choose(keys: Mapping[str | None, PyJWK], key_id: str | None) -> PyJWK | None:
    if key_id is None:
        return next(iter(keys.values())) if len(keys) == 1 else None
    return keys.get(key_id)


async def _fetch(url: str) -> Mapping[str | None, PyJWK]:
    response = await CLIENT.request("GET", url, timeout=FETCH_SECONDS, max_bytes=MAX_BYTES, allow_private=True)
    if response.status != 200:
        raise ValueError(f"status {response.status}")
    body = jsontext.decode_untrusted(response.body)
    if not isinstance(body, dict) or not isinstance(body.get("keys"), list) or len(body["keys"]) > MAX_KEYS:
        raise ValueError("no key set")
    found = PyJWKSet.from_dict(body).keys
    signing = [key for key in found if key.public_key_use in (None, "sig")]
    return {key.key_id: key for key in signing if key.algorithm_name in ALGORITHMS}


JWK_SETS = process_wide(JwkSets(), reset=JwkSets.reset)
"""Process-wide instance."""
