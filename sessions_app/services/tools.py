"""Registration, removal and tests of the tools of an open session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app.database import write_transaction
from core_app.errors import Conflict
from sessions_app.legs.leg import call_context
from sessions_app.selectors import session_get
from sessions_app.services.session import session_lock
from tenants_app.principal import SESSIONS, Principal
from tools_app import registry
from tools_app.types import CallContext


def tool_register(*, principal: Principal, public_id: str, registration: Mapping[str, Any]) -> dict[str, Any]:
    """Registers a tool, or replaces the client's tool of that name (`tool_attached`). Returns the tool object."""
    with write_transaction():
        session = session_lock(principal, public_id)
        return registry.tool_attach(tenant_id=session.tenant_id, stream_id=session.stream_id, registration=registration)


def tool_remove(*, principal: Principal, public_id: str, name: str) -> None:
    """Removes a tool (`tool_detached`). Calls under way are not affected."""
    with write_transaction():
        session = session_lock(principal, public_id)
        registry.tool_detach(stream_id=session.stream_id, name=name)


def tool_test_context(*, principal: Principal, public_id: str) -> tuple[int, CallContext]:
    """Returns the stream and the context for `tools_app.tool_test`, by which every face tests a tool. Needs the scope
    `sessions`; raises Conflict when the session is closed."""
    principal.require(SESSIONS)
    session = session_get(principal, public_id)
    if session.closed_at is not None:
        raise Conflict("The session is closed.")
    return session.stream_id, call_context(session, None)
