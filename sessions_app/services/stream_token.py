"""Stream tokens: one session, read only, for clients that cannot send a header (native contract, "Keys").

Sixty seconds to the first connection, because a token travels in addresses; from then on the same token is good for
reconnecting, for twelve hours or until its key is revoked. Only its hash is stored.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import Unauthorized
from sessions_app.models import StreamToken
from sessions_app.selectors import session_get
from tenants_app.authentication import principal_recheck
from tenants_app.principal import SESSIONS, Principal
from tenants_app.secret import is_well_formed, secret_hash

FIRST_CONNECTION = timedelta(seconds=60)
RECONNECTIONS = timedelta(hours=12)
SWEPT = 100
"""Expired tokens that go with each new one: more than come, so they never pile up."""


def stream_token_issue(*, principal: Principal, public_id: str) -> dict[str, Any]:
    """`{"token","expiresAt"}`: the moment until which the first connection has to be made."""
    session = session_get(principal, public_id)
    secret, moment = f"agt_{secrets.token_urlsafe(32)}", clock.now()
    with write_transaction():
        late = StreamToken.objects.filter(expires_at__lt=moment).values_list("pk", flat=True)[:SWEPT]
        StreamToken.objects.filter(pk__in=list(late)).delete()
        token = StreamToken.objects.create(
            secret_hash=secret_hash(secret),
            session=session,
            api_key_id=principal.key_id,
            user_id=principal.user_id,
            expires_at=moment + FIRST_CONNECTION,
        )
    return {"token": secret, "expiresAt": clock.iso_ms(token.expires_at)}


def stream_token_use(*, token: str, session_id: str) -> Principal:
    """The holder, who may read; notes the first connection. Unauthorized for a token that is not good for this."""
    found = _good(token, session_id)
    holder = principal_recheck(
        Principal(
            tenant_id=found.session.tenant_id,
            tenant_slug="",
            key_id=found.api_key_id,
            key_name="",
            scopes=frozenset({SESSIONS}),
            approvals_in_sessions=False,
            user_id=found.user_id,
        )
    )
    if found.connected_at is None:
        moment = clock.now()
        with write_transaction():
            StreamToken.objects.filter(pk=found.pk, connected_at=None).update(
                connected_at=moment, expires_at=moment + RECONNECTIONS
            )
    return holder


def _good(token: str, session_id: str) -> StreamToken:
    found = None
    if is_well_formed(token):
        tokens = StreamToken.objects.select_related("session").filter(expires_at__gt=clock.now())
        found = tokens.filter(secret_hash=secret_hash(token), session__public_id=session_id).first()
    if found is None:
        raise Unauthorized("The stream token is not known for this session, or no longer good.")
    return found
