"""Stream tokens: credentials for reading one stream, for clients that cannot send a header.

A token travels in addresses, so it is good for sixty seconds until the first connection; from then on the same token is
good for reconnecting, for twelve hours or until its key is revoked, by the database's clock. Only its hash is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from core_app.database import database_moment, write_transaction
from core_app.ids import new_secret
from events_app.models import StreamToken
from tenants_app.authentication import principal_recheck
from tenants_app.principal import Principal
from tenants_app.secret import is_well_formed, secret_hash

FIRST_CONNECTION = timedelta(seconds=60)
RECONNECTIONS = timedelta(hours=12)

PURGED = 100
"""Expired tokens that are removed with each new one: more than are issued, so they never pile up."""

Rows = QuerySet[Any, Any]


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token, which is not shown again, and the moment until which its first connection has to be made."""

    secret: str
    expires_at: datetime


def stream_token_issue(*, principal: Principal, stream_id: int, session_id: int | None = None) -> IssuedToken:
    """Creates a token for a stream of the principal's tenant, which the caller has checked.

    `session_id` is for the processes of the version before, which know tokens of sessions only.
    """
    secret, moment = new_secret("agt"), database_moment()
    with write_transaction():
        expired = StreamToken.objects.filter(expires_at__lt=moment).values_list("pk", flat=True)[:PURGED]
        StreamToken.objects.filter(pk__in=list(expired)).delete()
        token = StreamToken.objects.create(
            secret_hash=secret_hash(secret),
            stream_id=stream_id,
            session_id=session_id,
            api_key_id=principal.key_id,
            user_id=principal.user_id,
            tenant_id=principal.tenant_id,
            browser_session=principal.browser_session or "",
            expires_at=moment + FIRST_CONNECTION,
        )
    return IssuedToken(secret, token.expires_at)


def stream_token_use(*, token: str, scope: str, streams: Rows, sessions: Rows | None = None) -> Principal | None:
    """Returns the token's holder, cut down to `scope`, and notes the first connection; None for a token that is not
    known for any of `streams`, or no longer good. Raises Unauthorized when the holder's key is no longer good.

    `streams` selects ids and becomes a part of the token's own query. `sessions` does the same for tokens that a
    process of the version before has issued.
    """
    found = _find(token, streams, sessions)
    if found is None:
        return None
    holder = principal_recheck(
        Principal(
            # 0 where the version before issued the token: the key or user that is looked up says which tenant it is
            tenant_id=found.tenant_id or 0,
            tenant_slug="",
            key_id=found.api_key_id,
            key_name="",
            scopes=frozenset({scope}),
            approvals_in_sessions=False,
            user_id=found.user_id,
            browser_session=found.browser_session or None,
        )
    )
    if found.connected_at is None:
        moment = database_moment()
        with write_transaction():
            StreamToken.objects.filter(pk=found.pk, connected_at=None).update(
                connected_at=moment, expires_at=moment + RECONNECTIONS
            )
    return holder


def _find(token: str, streams: Rows, sessions: Rows | None) -> StreamToken | None:
    if not is_well_formed(token):
        return None
    shown = Q(stream_id__in=streams)
    if sessions is not None:
        shown |= Q(stream_id__isnull=True, session_id__in=sessions)
    return StreamToken.objects.filter(shown, secret_hash=secret_hash(token), expires_at__gt=Now()).first()
