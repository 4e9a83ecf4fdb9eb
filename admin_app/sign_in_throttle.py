"""How often somebody may try to sign in to the admin: buckets that refill evenly, of an address and of a user name.

Counted are attempts, before their password is looked at, so that many at once guess no more than many in a row. The
bucket of a name never shuts its owner out for as long as others guess: a browser that has signed in under the name
carries a signed mark (`KNOWN`) and has a bucket of its own. With GATEWAY_REDIS_URL all processes count together; when
Redis fails each counts by itself, as `tenants_app.limits` does for keys. It is asked in threads, not in a loop.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time

import structlog
from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from throttled.exceptions import StoreUnavailableError
from throttled.rate_limiter import RateLimitResult, per_min
from throttled.rate_limiter.gcra import GCRARateLimiter
from throttled.store import MemoryStore, RedisStore

from core_app.ids import new_id
from core_app.lifecycle import process_wide
from core_app.log_lines import error_summary
from core_app.metrics import RATE_LIMITED
from core_app.redis_errors import redis_errors
from tenants_app.limits import REDIS_SECONDS, RETRY_SECONDS

PER_ADDRESS = 20
"""Attempts a minute; several people may share an address."""

PER_NAME = 10
"""Attempts a minute under one name from browsers that never signed in under it, wherever they are."""

KNOWN = "gateway_known"
"""The cookie of a browser that has signed in."""

KNOWN_SECONDS = 365 * 86_400
_LOCAL_KEYS = 100_000
_SALT = "admin sign-in"

_log = structlog.get_logger("gateway.sign_in")


class SignIns:
    """The buckets. Nothing in them names a person: names are hashed."""

    def __init__(self) -> None:
        self._local_store = MemoryStore(options={"MAX_SIZE": _LOCAL_KEYS})
        self._shared_store: tuple[str, RedisStore] | None = None
        self._redis_again = 0.0

    def attempt(self, request: HttpRequest, name: str) -> int:
        """Takes an attempt; 0 when it may be made, else how many seconds to wait."""
        waits = [self._take(f"address {address_of(request)}", PER_ADDRESS)]
        if not waits[0]:
            # What an address has too many of does not use up its victim's.
            waits.append(self._take(f"name {_known_as(request, name) or _hashed(name)}", PER_NAME))
        if any(waits):
            RATE_LIMITED.inc()
        return max(waits)

    def worth_noting(self, request: HttpRequest) -> bool:
        """Whether a refusal is to be recorded: once a minute and address, for a record that only grows."""
        return not self._take(f"noted {address_of(request)}", 1)

    def _take(self, bucket: str, rpm: int) -> int:
        result = self._limited(f"sign-in {bucket}", rpm)
        return max(1, math.ceil(result.state.retry_after)) if result.limited else 0

    def _limited(self, bucket: str, rpm: int) -> RateLimitResult:
        if settings.GATEWAY_REDIS_URL and time.monotonic() >= self._redis_again:
            try:
                return GCRARateLimiter(per_min(rpm), self._shared(), key_prefix="gateway:limit").limit(bucket)
            except redis_errors(StoreUnavailableError) as error:
                self._redis_again = time.monotonic() + RETRY_SECONDS
                _log.warning("sign-ins are counted per process: Redis does not answer", error=error_summary(error))
        return GCRARateLimiter(per_min(rpm), self._local_store).limit(bucket)

    def _shared(self) -> RedisStore:
        url = settings.GATEWAY_REDIS_URL
        if self._shared_store is None or self._shared_store[0] != url:
            options = {"SOCKET_TIMEOUT": REDIS_SECONDS, "SOCKET_CONNECT_TIMEOUT": REDIS_SECONDS}
            self._shared_store = (url, RedisStore(server=url, options=options))
        return self._shared_store[1]


def address_of(request: HttpRequest) -> str:
    """Who asks, as the trusted proxies tell it; of IPv6 the network, of which one customer has all addresses."""
    raw = str(request.META.get("REMOTE_ADDR") or "")
    try:
        address = ipaddress.ip_address(raw)
    except ValueError:
        return raw
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def browser_mark(request: HttpRequest, response: HttpResponse, name: str) -> None:
    """Gives the browser that has just signed in under the name its mark."""
    marks = signing.dumps([_hashed(name), new_id("brw")], salt=_SALT)
    response.set_cookie(
        KNOWN,
        marks,
        max_age=KNOWN_SECONDS,
        path=reverse("admin:index"),
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )


def _known_as(request: HttpRequest, name: str) -> str | None:
    """The bucket of a browser that has signed in under the name before."""
    try:
        owner, browser = signing.loads(request.COOKIES.get(KNOWN, ""), salt=_SALT, max_age=KNOWN_SECONDS)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return f"{owner} {browser}" if owner == _hashed(name) else None


def _hashed(name: str) -> str:
    return hashlib.sha256(name.strip().casefold().encode("utf-8", "replace")).hexdigest()


SIGN_INS = process_wide(SignIns())
"""This process's."""
