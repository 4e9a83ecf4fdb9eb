"""Authentication: credentials of an HTTP request or WebSocket to a Principal.

`X-API-Key` takes precedence, then `Authorization: Bearer`, then, on WebSockets only, `?api_key=`. Sync functions query
the database in the calling thread; their `a…` counterparts use a thread only on a cache miss. Every invalid key gets
the same Unauthorized.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.db.models import Q
from django.utils.module_loading import import_string

from core_app import clock, database
from core_app.errors import Unauthorized
from core_app.lifecycle import process_wide
from tenants_app.key_cache import KEY_CACHE, CachedLookup
from tenants_app.models import ApiKey, Device, EmbedToken, Tenant, User
from tenants_app.people import browser_holder, grant_in, home_of
from tenants_app.principal import APPROVALS, DEVICE, EMBED_GUEST, SESSIONS, Principal, with_included
from tenants_app.secret import is_jwt, is_well_formed, secret_hash

Scope = MutableMapping[str, Any]

_FRESH_SHARE = 0.5
"""Open streams renew the cache's entry after this share of its time, so that no event waits for the database."""

EMBED_RPM = 60
"""Requests per minute of one end user of embedded chats."""

_LAST_USED_STEP = timedelta(minutes=1)
"""Shortest interval between writes of `last_used_at`: it is only informative, and a write costs more than a request."""


def secret_from_scope(scope: Scope) -> str | None:
    """Returns the secret in an ASGI scope, or `None`."""
    headers: Mapping[bytes, bytes] = dict(reversed(scope.get("headers", ())))
    if secret := headers.get(b"x-api-key", b"").decode("latin-1").strip():
        return secret
    scheme, _, secret = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip()
    if scope["type"] == "websocket":
        return query_parameter(scope, "api_key")
    return None


def query_parameter(scope: Scope, name: str) -> str | None:
    """Returns the first non-empty value of `name` in the query string."""
    query = scope.get("query_string", b"").decode("latin-1")
    return next(iter(parse_qs(query).get(name, ())), None)


def principal_for_secret(secret: str | None) -> Principal:
    """Returns the secret's principal; raises Unauthorized for a missing or invalid key or a disabled tenant."""
    digest = _digest(secret)
    return _require_principal(*KEY_CACHE.get_or_load(digest, lambda: _load_by_hash(digest)))


async def aprincipal_for_secret(secret: str | None) -> Principal:
    """Does the same from the event loop; a cached key needs no thread."""
    if known := KEY_CACHE.get(_digest(secret)):
        return _require_principal(known, loaded=False)
    return await database.run(principal_for_secret, secret)


async def aprincipal_for_credential(secret: str | None) -> Principal:
    """Returns the principal of a key, or of an issuer's token where GATEWAY_USE_JWT_AUTH is on. Raises Unauthorized,
    and Unavailable when the issuer's keys cannot be had."""
    if secret is not None and settings.GATEWAY_USE_JWT_AUTH and is_jwt(secret):
        # Loaded when the first token comes: the library takes 0.15 s.
        principal: Principal = await import_string("tenants_app.jwt_tokens.aprincipal_for_jwt")(secret)
        return principal
    return await aprincipal_for_secret(secret)


def principal_recheck(principal: Principal) -> Principal:
    """Returns the principal's current state, without scopes that it lacked (it may come from a narrower token).

    Raises Unauthorized when its key, user or tenant is no longer valid.
    """
    return _narrow(_recheck(principal), principal)


async def aprincipal_recheck(principal: Principal) -> Principal:
    """Does the same from the event loop: one query per key and cache period for all followers, which wait together."""
    if known := KEY_CACHE.get(_identity(principal)):
        return _narrow(_require_principal(known, loaded=False), principal)
    return _narrow(await _RECHECKS.run(_identity(principal), principal), principal)


class _SharedRechecks:
    """Look-ups in progress by identity, one for all callers of a loop: ten thousand followers of one key would
    otherwise ask for a thread each, every time the cache's entry expires."""

    def __init__(self) -> None:
        self._running: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Task[Principal]] = {}

    async def run(self, identity: str, principal: Principal) -> Principal:
        """Returns the principal's current state, with all its scopes."""
        # A caller that leaves must not take the answer from the others.
        return await asyncio.shield(self.start(identity, principal))

    def start(self, identity: str, principal: Principal) -> asyncio.Task[Principal]:
        """Starts the look-up unless it is in progress."""
        place = asyncio.get_running_loop(), identity
        task = self._running.get(place)
        if task is None:
            task = self._running[place] = asyncio.create_task(database.run(_recheck, principal, _FRESH_SHARE))
            task.add_done_callback(lambda done: self._end(place, done))
        return task

    def _end(self, place: tuple[asyncio.AbstractEventLoop, str], task: asyncio.Task[Principal]) -> None:
        self._running.pop(place, None)
        if not task.cancelled():
            # Nobody may be waiting for it; whoever is gets the exception, too.
            task.exception()


def _recheck(principal: Principal, share: float = 1.0) -> Principal:
    known, loaded = KEY_CACHE.get_or_load(_identity(principal), lambda: _load_again(principal), share)
    return _require_principal(known, loaded)


_RECHECKS = process_wide(_SharedRechecks())
"""Process-wide instance."""


class KeyWatch:
    """A principal of an open stream, asked before each batch whether its key is still good.

    The answer is never older than GATEWAY_KEY_CACHE_SECONDS, so nothing that was written that long after a key's
    revocation is delivered to it. On a busy stream the cache's entry is renewed before it expires, and asking costs a
    look-up in the cache.
    """

    __slots__ = ("_identity", "_seen", "principal", "required_scope")

    def __init__(self, principal: Principal, required_scope: str | None) -> None:
        self.principal = principal
        self.required_scope = required_scope
        self._identity = _identity(principal)
        self._seen: CachedLookup | None = None

    @property
    def fresh(self) -> bool:
        """True while the cache has the answer that the last check saw, and is not due to renew it."""
        return self._seen is not None and KEY_CACHE.get(self._identity, _FRESH_SHARE) is self._seen

    async def check(self) -> Principal:
        """Asks, and returns what the principal may do now; raises Unauthorized or Forbidden."""
        if (found := self.check_now()) is not None:
            return found
        self.principal = await aprincipal_recheck(self.principal)
        # What the cache has now, which may be newer than the answer that was waited for.
        return self._take(KEY_CACHE.get(self._identity))

    def check_now(self) -> Principal | None:
        """Does the same from the cache alone, and has it renewed in time; None where it has no answer."""
        if self.fresh:
            return self.principal
        known = KEY_CACHE.get(self._identity)
        if known is None:
            return None
        if KEY_CACHE.get(self._identity, _FRESH_SHARE) is None:
            _RECHECKS.start(self._identity, self.principal)
        return self._take(known)

    def _take(self, known: CachedLookup | None) -> Principal:
        if known is not None:
            self.principal = _narrow(_require_principal(known, loaded=False), self.principal)
        if self.required_scope is not None:
            self.principal.require(self.required_scope)
        self._seen = known
        return self.principal


def principal_for_user(user: User, tenant: Tenant | None = None) -> Principal:
    """Returns a person's principal in `tenant`, or in the first of the person's tenants; raises Unauthorized unless
    user and tenant are active and the person has a role there."""
    tenant = tenant or home_of(user)
    principal = None if tenant is None else _user_principal(user, tenant)
    if principal is None:
        raise Unauthorized("This user belongs to no tenant.")
    return principal


def principal_for_browser(session_key: str) -> Principal | None:
    """Returns the principal of the person who is signed in with a browser's session, in the tenant that is chosen
    there; None for a session that is not known or over. Cached like a key."""
    known, _ = KEY_CACHE.get_or_load(f"browser {session_key}", lambda: _load_browser(session_key))
    return known.principal


async def aprincipal_for_browser(session_key: str) -> Principal | None:
    """Does the same from the event loop."""
    if known := KEY_CACHE.get(f"browser {session_key}"):
        return known.principal
    return await database.run(principal_for_browser, session_key)


def principal_for_device(device: Device) -> Principal | None:
    """Returns the principal of a device that has proved who it is; None when it is revoked or its tenant disabled."""
    if device.revoked_at is not None or device.tenant.disabled_at is not None:
        return None
    return _principal(
        device.tenant,
        key_id=None,
        key_name=device.device_id,
        scopes=frozenset({DEVICE, SESSIONS}),
        rpm=settings.GATEWAY_RATE_LIMIT_RPM,
        device_id=device.pk,
    )


def principal_for_guest(tenant: Tenant, *, guest: str, name: str, scopes: frozenset[str]) -> Principal | None:
    """Returns the principal of somebody whom `guest` vouches for; None when the tenant is disabled."""
    if tenant.disabled_at is not None:
        return None
    rpm = settings.GATEWAY_RATE_LIMIT_RPM
    return _principal(tenant, key_id=None, key_name=name, scopes=scopes, rpm=rpm, guest=guest)


def principal_for_embed(token: EmbedToken) -> Principal | None:
    """Returns the principal of an embedded chat's end user; None when the token, its key or its tenant is no longer
    good. It has `sessions`, which its few paths ask for, and nothing that the key lacks."""
    holder = _key_principal(token.api_key)
    if holder is None or not holder.allows(SESSIONS) or token.expires_at <= clock.now():
        return None
    approves = token.approvals and holder.allows(APPROVALS)
    principal = _principal(
        token.api_key.tenant,
        EMBED_RPM,
        key_id=None,
        key_name=token.end_user,
        scopes=frozenset({SESSIONS, APPROVALS} if approves else {SESSIONS}),
        guest=EMBED_GUEST,
        embed_id=token.pk,
        end_user=token.end_user,
        expires_at=token.expires_at.timestamp(),
    )
    return replace(principal, approvals_in_sessions=False)


def _digest(secret: str | None) -> str:
    if not secret:
        raise Unauthorized("An API key is needed: send it as X-API-Key or as Authorization: Bearer.")
    if not is_well_formed(secret):
        raise _invalid_key()
    return secret_hash(secret)


def _identity(principal: Principal) -> str:
    if principal.key_id is not None:
        return f"key {principal.key_id}"
    if principal.device_id is not None:
        return f"device {principal.device_id}"
    if principal.embed_id is not None:
        return f"embed {principal.embed_id}"
    if principal.user_id is None:
        return repr(principal)
    return f"user {principal.user_id} {principal.tenant_id} {principal.browser_session or ''}"


def _require_principal(known: CachedLookup, loaded: bool) -> Principal:
    if known.principal is None:
        raise _invalid_key()
    if known.principal.expires_at is not None and known.principal.expires_at <= clock.now().timestamp():
        raise Unauthorized("The token has expired.")
    if loaded and known.principal.key_id is not None:
        _mark_used(known.principal.key_id)
    return known.principal


def _narrow(fresh: Principal, before: Principal) -> Principal:
    if fresh.scopes <= before.scopes and fresh.approvals_in_sessions <= before.approvals_in_sessions:
        return fresh
    kept = before.scopes & fresh.held
    return replace(
        fresh,
        # Beside them what is left of a scope that became a narrower one.
        scopes=kept | ((fresh.scopes & before.held) - with_included(kept)),
        approvals_in_sessions=fresh.approvals_in_sessions and before.approvals_in_sessions,
    )


def _invalid_key() -> Unauthorized:
    return Unauthorized("The API key is not known, or no longer good.")


def _load_by_hash(digest: str) -> Principal | None:
    key = ApiKey.objects.select_related("tenant").filter(secret_hash=digest).first()
    if key is None or not hmac.compare_digest(key.secret_hash, digest):
        return None
    return _key_principal(key)


def _load_again(principal: Principal) -> Principal | None:
    if principal.key_id is not None:
        key = ApiKey.objects.select_related("tenant").filter(id=principal.key_id).first()
        return None if key is None else _key_principal(key)
    if principal.embed_id is not None:
        token = EmbedToken.objects.select_related("api_key__tenant").filter(id=principal.embed_id).first()
        return None if token is None else principal_for_embed(token)
    if principal.browser_session is not None:
        fresh = _load_browser(principal.browser_session)
        # A person who chose another tenant meanwhile has left this one.
        return fresh if fresh is not None and fresh.tenant_id == principal.tenant_id else None
    if principal.user_id is not None:
        user = User.objects.select_related("tenant").filter(id=principal.user_id).first()
        return None if user is None else _user_again(user, principal.tenant_id)
    if principal.device_id is not None:
        device = Device.objects.select_related("tenant").filter(id=principal.device_id).first()
        return None if device is None else principal_for_device(device)
    tenant = Tenant.objects.filter(id=principal.tenant_id).first()
    return None if tenant is None else _guest_again(tenant, principal)


def _guest_again(tenant: Tenant, principal: Principal) -> Principal | None:
    """Returns a guest with the limits that its tenant has now. It has no row that could tell them, and a session token
    knows of its holder the name and the scopes only."""
    fresh = principal_for_guest(tenant, guest=principal.guest, name=principal.key_name, scopes=principal.scopes)
    if fresh is None:
        return None
    return replace(fresh, expires_at=principal.expires_at, end_user=principal.end_user)


def _key_principal(key: ApiKey) -> Principal | None:
    if key.tenant.disabled_at is not None or not key.is_good(clock.now()):
        return None
    rpm = settings.GATEWAY_RATE_LIMIT_RPM if key.rpm is None else key.rpm
    return _principal(key.tenant, rpm, key_id=key.id, key_name=key.name, scopes=frozenset(key.scopes))


def _user_principal(user: User, tenant: Tenant, browser_session: str | None = None) -> Principal | None:
    scopes = grant_in(user, tenant)
    if scopes is None:
        return None
    return _principal(
        tenant,
        settings.GATEWAY_RATE_LIMIT_RPM,
        key_id=None,
        key_name=user.get_username(),
        scopes=scopes,
        user_id=user.id,
        browser_session=browser_session,
    )


def _user_again(user: User, tenant_id: int) -> Principal | None:
    """Returns the person's principal in a tenant. A stream token does not know its tenant (0)."""
    tenant = Tenant.objects.filter(id=tenant_id).first() if tenant_id else home_of(user)
    return None if tenant is None else _user_principal(user, tenant)


def _load_browser(session_key: str) -> Principal | None:
    holder = browser_holder(session_key)
    return None if holder is None else _user_principal(*holder, session_key)


def _principal(tenant: Tenant, rpm: int, **identity: Any) -> Principal:
    return Principal(
        rpm=rpm,
        tenant_rpm=tenant.rpm_beside(rpm),
        tenant_id=tenant.id,
        tenant_slug=tenant.slug,
        approvals_in_sessions=tenant.approvals_in_sessions,
        allow_private=tenant.allow_private,
        stores_responses=tenant.stores_responses,
        default_model=tenant.default_model,
        default_agent=tenant.default_agent,
        **identity,
    )


def _mark_used(key_id: int) -> None:
    """Writes `last_used_at`. Runs outside the cache's locks: a writer waiting for those may hold the database's."""
    moment = clock.now()
    stale = Q(last_used_at=None) | Q(last_used_at__lt=moment - _LAST_USED_STEP)
    if ApiKey.objects.filter(stale, id=key_id).exists():
        with database.write_transaction():
            ApiKey.objects.filter(stale, id=key_id).update(last_used_at=moment)
