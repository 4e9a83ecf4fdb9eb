"""Tokens with which RPC connections resume: a client that signed in once needs its password or device key no more.

A token is good for a day, or until it or the credential behind it is revoked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from core_app import clock, database
from core_app.database import write_transaction
from core_app.errors import NotFound, Unauthorized
from core_app.ids import new_secret
from core_app.lifecycle import process_wide
from tenants_app.authentication import principal_recheck
from tenants_app.key_cache import KEY_CACHE
from tenants_app.models import ConnectionToken
from tenants_app.principal import JWT_GUEST, Principal
from tenants_app.secret import is_well_formed, secret_hash
from tenants_app.services.audit import audit_record
from tenants_app.services.key_cache_invalidate import keys_forget

LIFETIME = timedelta(hours=24)

FRESH_SHARE = 0.5
"""A token in use is looked up again after this share of its time in the cache."""

LOOKED_UP = 500
"""Tokens of one query; SQLite takes 999 parameters at least."""

PURGED = 100
"""Expired tokens that are removed with each new one: more than are issued, so they never pile up."""


@dataclass(frozen=True, slots=True)
class IssuedConnectionToken:
    """A new token, which is not shown again."""

    token_id: int
    secret: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Resumed:
    """The caller of a token as it is now, and how it once signed in."""

    token_id: int
    principal: Principal
    method: str
    expires_at: datetime


def connection_token_issue(*, principal: Principal, method: str, client_id: str) -> IssuedConnectionToken:
    """Creates a token for a caller who has just signed in."""
    secret, moment = new_secret("agc"), clock.now()
    with write_transaction():
        expired = ConnectionToken.objects.filter(expires_at__lt=moment).values_list("pk", flat=True)[:PURGED]
        ConnectionToken.objects.filter(pk__in=list(expired)).delete()
        token = ConnectionToken.objects.create(
            tenant_id=principal.tenant_id,
            secret_hash=secret_hash(secret),
            api_key_id=principal.key_id,
            user_id=principal.user_id,
            device_id=principal.device_id,
            name=principal.key_name,
            guest=principal.guest,
            method=method,
            client_id=client_id,
            scopes=sorted(principal.scopes),
            expires_at=_end_of(principal, moment + LIFETIME),
        )
    return IssuedConnectionToken(token.pk, secret, token.expires_at)


def connection_token_use(secret: str) -> Resumed:
    """Returns the caller of a token; raises Unauthorized when the token or the credential behind it is not good."""
    token = None
    if is_well_formed(secret):
        token = ConnectionToken.objects.select_related("tenant").filter(secret_hash=secret_hash(secret)).first()
    if token is None or not _is_good(token) or token.guest == JWT_GUEST:
        # The issuer's token says until when its holder is good and whose prompts they are; it is shown again.
        raise Unauthorized("The session token is not known, or no longer good.")
    return Resumed(token.pk, principal_recheck(_holder(token)), token.method, token.expires_at)


def connection_token_check(token_id: int) -> None:
    """Raises Unauthorized when the token was revoked or has expired. Cached like a key."""
    known, _ = KEY_CACHE.get_or_load(_cache_name(token_id), lambda: _holders([token_id])[0])
    if known.principal is None:
        raise _no_longer_good()


def connection_token_cached(token_id: int) -> bool:
    """Does the same from the cache alone, and has it renewed in time, so that no request of a busy connection waits for
    the database. Returns False where the cache does not know the token. Belongs to the loop."""
    name = _cache_name(token_id)
    known = KEY_CACHE.get(name)
    if known is None:
        return False
    if known.principal is None:
        raise _no_longer_good()
    if KEY_CACHE.get(name, FRESH_SHARE) is None:
        _CHECKS.start(token_id)
    return True


async def aconnection_token_check(token_id: int) -> None:
    """Does the same from the event loop. A cached token needs no thread, and those that are looked up at the same time
    share one: the tokens of a thousand connections expire from the cache together."""
    if not connection_token_cached(token_id):
        await _CHECKS.check(token_id)


class _SharedChecks:
    """Look-ups of tokens, of which one runs at a time; those asked for meanwhile are the next one's."""

    def __init__(self) -> None:
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._runner: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, token_id: int) -> asyncio.Future[None]:
        """Starts the look-up of a token, unless it waits for its turn already."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._asked, self._runner, self._loop = {}, None, loop
        asked = self._asked.get(token_id)
        if asked is None:
            asked = self._asked[token_id] = loop.create_future()
        if self._runner is None:
            self._runner = loop.create_task(self._run(), name="connection-tokens")
        return asked

    async def check(self, token_id: int) -> None:
        """Waits for the look-up of a token; raises Unauthorized."""
        # A caller that leaves must not take the answer from the others.
        await asyncio.shield(self.start(token_id))
        if not connection_token_cached(token_id):
            # The cache was cleared meanwhile, or keeps nothing.
            await database.run(connection_token_check, token_id)

    async def _run(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await self._look_up(asked)
        finally:
            self._runner = None

    @staticmethod
    async def _look_up(asked: Mapping[int, asyncio.Future[None]]) -> None:
        try:
            await database.run(_load_holders, list(asked))
        except Exception as failure:  # it is raised where the look-up is waited for
            for future in asked.values():
                future.set_exception(failure)
                future.exception()  # read, for the case that nobody waits any more
        else:
            for future in asked.values():
                future.set_result(None)
        finally:
            for future in asked.values():
                future.cancel()  # does nothing unless this task was cancelled


_CHECKS = process_wide(_SharedChecks())
"""Process-wide instance."""


def connection_token_revoke(*, principal: Principal, secret: str) -> None:
    """Revokes a token of the principal's tenant, and ends its connections in all processes. Raises NotFound."""
    with write_transaction():
        mine = ConnectionToken.objects.filter(tenant_id=principal.tenant_id, secret_hash=secret_hash(secret))
        token = mine.first()
        if token is None:
            raise NotFound("There is no such session token.")
        connection_token_end(token=token, actor=principal.actor)


def connection_token_end(*, token: ConnectionToken, actor: str) -> None:
    """Revokes a token; idempotent."""
    with write_transaction():
        if ConnectionToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=clock.now()):
            target, tenant_id = str(token), token.tenant_id
            audit_record(actor=actor, action="connection_token.revoke", target=target, tenant_id=tenant_id)
        keys_forget()


def _end_of(principal: Principal, latest: datetime) -> datetime:
    """The end of the token, which is not after that of the credential behind it."""
    if principal.expires_at is None or principal.expires_at >= latest.timestamp():
        return latest
    return datetime.fromtimestamp(principal.expires_at, UTC)


_SOMEBODY = Principal(tenant_id=0, tenant_slug="", key_id=None, key_name="", scopes=frozenset())
"""In the cache the holder of any good token. A check asks whether the token is good, and another one, of the caller's
own principal, what the caller may do: the rows of a thousand tokens are not read for it."""


def _cache_name(token_id: int) -> str:
    return f"connection token {token_id}"


def _no_longer_good() -> Unauthorized:
    return Unauthorized("The session token is no longer good.")


def _is_good(token: ConnectionToken) -> bool:
    return token.revoked_at is None and token.expires_at > clock.now()


def _load_holders(token_ids: Sequence[int]) -> None:
    """Looks tokens up with one query for LOOKED_UP of them, and leaves them in the cache."""
    for start in range(0, len(token_ids), LOOKED_UP):
        part = token_ids[start : start + LOOKED_UP]
        KEY_CACHE.load_many([_cache_name(token_id) for token_id in part], partial(_holders, part))


def _holders(token_ids: Sequence[int]) -> list[Principal | None]:
    found = ConnectionToken.objects.filter(pk__in=token_ids, revoked_at=None, expires_at__gt=clock.now())
    good = set(found.values_list("pk", flat=True))
    return [_SOMEBODY if token_id in good else None for token_id in token_ids]


def _holder(token: ConnectionToken) -> Principal:
    """Returns the caller that the token stands for, with the scopes of then; `principal_recheck` says what is left."""
    return Principal(
        tenant_id=token.tenant_id,
        tenant_slug=token.tenant.slug,
        key_id=token.api_key_id,
        key_name=token.name,
        scopes=frozenset(token.scopes),
        user_id=token.user_id,
        device_id=token.device_id,
        guest=token.guest,
    )
