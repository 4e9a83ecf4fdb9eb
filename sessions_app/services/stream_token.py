"""Stream tokens of sessions and groups (docs/protocol-native.md, "Keys, errors, limits")."""

from __future__ import annotations

from core_app.errors import NotFound
from events_app.tokens import IssuedToken, stream_token_issue
from sessions_app.models import SessionGroup
from sessions_app.selectors import session_get
from tenants_app.principal import Principal


def session_token_issue(*, principal: Principal, public_id: str) -> IssuedToken:
    """Creates a token for the event stream of a session. Raises SessionNotFound."""
    session = session_get(principal, public_id)
    return stream_token_issue(principal=principal, stream_id=session.stream_id, session_id=session.pk)


def group_token_issue(*, principal: Principal, public_id: str) -> IssuedToken:
    """Creates a token for the event stream of a group. Raises NotFound."""
    group = SessionGroup.objects.filter(tenant_id=principal.tenant_id, public_id=public_id).first()
    if group is None:
        raise NotFound(f"There is no group {public_id!r}.")
    return stream_token_issue(principal=principal, stream_id=group.stream_id)
