"""Rate limit for sign-ins to the admin: token buckets per address and per user name.

Attempts are counted before the password is checked, so that parallel attempts guess no more than sequential ones.
Guessing by others does not lock out the owner of a name: a browser that has signed in under the name has a signed
cookie (`KNOWN`) and a bucket of its own, whatever its address and its name have left. Behind a proxy that is not
trusted everybody has one address, which anybody can use up. With GATEWAY_REDIS_URL all processes share the buckets;
when Redis fails each process uses its own, as in `tenants_app.limits`. The throttle runs in threads, not on the event
loop.
"""

from __future__ import annotations

import hashlib
import math
import time

import structlog
from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from throttled.exceptions import StoreUnavailableError
from throttled.rate_limiter import RateLimitResult, per_min
from throttled.rate_limiter.gcra import GCRARateLimiter
from throttled.store import MemoryStore, RedisStore

from core_app.addresses import client_group
from core_app.ids import new_id
from core_app.lifecycle import process_wide
from core_app.log_lines import error_summary
from core_app.metrics import RATE_LIMITED
from core_app.proxy_watch import PROXY_WATCH
from core_app.redis_errors import redis_errors
from tenants_app.limits import REDIS_SECONDS, RETRY_SECONDS

PER_ADDRESS = 20
"""Attempts per minute. Several people may share an address."""

PER_NAME = 10
"""Attempts per minute under one name by all browsers that never signed in under it."""

KNOWN = "gateway_known"
"""Name of the cookie of a browser that has signed in."""

KNOWN_SECONDS = 365 * 86_400
_LOCAL_KEYS = 100_000
_SALT = "admin sign-in"

logger = structlog.get_logger("gateway.sign_in")


class SignInThrottle:
    """The buckets of all addresses and names. Names are hashed."""

    def __init__(self) -> None:
        self._local_store = MemoryStore(options={"MAX_SIZE": _LOCAL_KEYS})
        self._shared_store: tuple[str, RedisStore] | None = None
        self._redis_retry_at = 0.0

    def attempt(self, request: HttpRequest, name: str) -> int:
        """Counts an attempt; returns 0 when it is allowed, else the seconds to wait."""
        PROXY_WATCH.look(request.META.get("REMOTE_ADDR"), request.META.get("HTTP_X_FORWARDED_FOR"))
        if browser := _known_as(request, name):
            wait = self._take(f"name {browser}", PER_NAME)
        else:
            # An address over its limit does not use up the bucket of the name that it tries.
            wait = self._take(f"address {address_of(request)}", PER_ADDRESS) or self._take(
                f"name {_name_hash(name)}", PER_NAME
            )
        if wait:
            RATE_LIMITED.inc()
        return wait

    def attempt_from(self, request: HttpRequest) -> int:
        """Does the same for an attempt that names nobody: the address alone counts."""
        PROXY_WATCH.look(request.META.get("REMOTE_ADDR"), request.META.get("HTTP_X_FORWARDED_FOR"))
        wait = self._take(f"address {address_of(request)}", PER_ADDRESS)
        if wait:
            RATE_LIMITED.inc()
        return wait

    def should_record(self, request: HttpRequest) -> bool:
        """True once per minute and address: refusals are recorded no more often, because the audit trail only grows."""
        return not self._take(f"noted {address_of(request)}", 1)

    def _take(self, bucket: str, rpm: int) -> int:
        result = self._check_bucket(f"sign-in {bucket}", rpm)
        return max(1, math.ceil(result.state.retry_after)) if result.limited else 0

    def _check_bucket(self, bucket: str, rpm: int) -> RateLimitResult:
        if settings.GATEWAY_REDIS_URL and time.monotonic() >= self._redis_retry_at:
            try:
                return GCRARateLimiter(per_min(rpm), self._redis_store(), key_prefix="gateway:limit").limit(bucket)
            except redis_errors(StoreUnavailableError) as error:
                self._redis_retry_at = time.monotonic() + RETRY_SECONDS
                logger.warning("sign_in_limits_per_process", error=error_summary(error))
        return GCRARateLimiter(per_min(rpm), self._local_store).limit(bucket)

    def _redis_store(self) -> RedisStore:
        url = settings.GATEWAY_REDIS_URL
        if self._shared_store is None or self._shared_store[0] != url:
            options = {"SOCKET_TIMEOUT": REDIS_SECONDS, "SOCKET_CONNECT_TIMEOUT": REDIS_SECONDS}
            self._shared_store = (url, RedisStore(server=url, options=options))
        return self._shared_store[1]


def address_of(request: HttpRequest) -> str:
    """The client's address behind trusted proxies; for IPv6 its /64 network, because one customer has all of it."""
    return client_group(str(request.META.get("REMOTE_ADDR") or ""))


def browser_mark(request: HttpRequest, response: HttpResponse, name: str) -> None:
    """Sets the signed cookie for a browser that has just signed in under the name."""
    marks = signing.dumps([_name_hash(name), new_id("brw")], salt=_SALT)
    response.set_cookie(
        KNOWN,
        marks,
        max_age=KNOWN_SECONDS,
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )


def _known_as(request: HttpRequest, name: str) -> str | None:
    """The bucket of a browser that has signed in under the name before, or `None`."""
    try:
        owner, browser = signing.loads(request.COOKIES.get(KNOWN, ""), salt=_SALT, max_age=KNOWN_SECONDS)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return f"{owner} {browser}" if owner == _name_hash(name) else None


def _name_hash(name: str) -> str:
    return hashlib.sha256(name.strip().casefold().encode("utf-8", "replace")).hexdigest()


SIGN_INS = process_wide(SignInThrottle())
"""Process-wide instance; the sign-in form counts its attempts here."""
