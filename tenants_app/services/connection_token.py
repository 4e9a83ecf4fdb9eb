"""Tokens with which RPC connections resume: a client that signed in once needs its password or device key no more.

A token is good for a day, or until it or the credential behind it is revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core_app import clock, database
from core_app.database import write_transaction
from core_app.errors import NotFound, Unauthorized
from core_app.ids import new_secret
from tenants_app.authentication import principal_recheck
from tenants_app.key_cache import KEY_CACHE
from tenants_app.models import ConnectionToken
from tenants_app.principal import JWT_GUEST, Principal
from tenants_app.secret import is_well_formed, secret_hash
from tenants_app.services.audit import audit_record
from tenants_app.services.key_cache_invalidate import keys_forget

LIFETIME = timedelta(hours=24)

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
    known, _ = KEY_CACHE.get_or_load(_cache_name(token_id), lambda: _load_holder(token_id))
    if known.principal is None:
        raise _no_longer_good()


async def aconnection_token_check(token_id: int) -> None:
    """Does the same from the event loop; a cached token needs no thread."""
    known = KEY_CACHE.get(_cache_name(token_id))
    if known is None:
        await database.run(connection_token_check, token_id)
    elif known.principal is None:
        raise _no_longer_good()


def connection_token_revoke(*, principal: Principal, secret: str) -> None:
    """Revokes a token of the principal's tenant; its connections end at their next check. Raises NotFound."""
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


def _cache_name(token_id: int) -> str:
    return f"connection token {token_id}"


def _no_longer_good() -> Unauthorized:
    return Unauthorized("The session token is no longer good.")


def _is_good(token: ConnectionToken) -> bool:
    return token.revoked_at is None and token.expires_at > clock.now()


def _load_holder(token_id: int) -> Principal | None:
    token = ConnectionToken.objects.select_related("tenant").filter(pk=token_id).first()
    return None if token is None or not _is_good(token) else _holder(token)


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
