"""Outside calls of a session's client tools, made by an agent runtime in the middle of its own work."""

from __future__ import annotations

from core_app.database import write_transaction
from sessions_app.services.session import session_lock
from tenants_app.principal import SESSIONS, Principal
from tools_app import outside_calls
from tools_app.models import ToolCall
from tools_app.outside_calls import OutsideRequest


def outside_call_request(*, principal: Principal, public_id: str, request: OutsideRequest) -> ToolCall:
    """Requests a call of the tool from the session's client, or returns the first call of that id. Raises
    SessionNotFound, and Conflict when the session is closed."""
    principal.require(SESSIONS)
    with write_transaction():
        session = session_lock(principal, public_id)
        return outside_calls.outside_call_request(
            tenant_id=session.tenant_id, stream_id=session.stream_id, request=request
        )
