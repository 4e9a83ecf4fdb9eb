"""The states of MCP servers, written where operators and tenants look. Only changes are written, so that a server in
good health costs nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from core_app import clock, database
from core_app.database import write_transaction
from core_app.lifecycle import process_wide
from tenants_app.models import Tenant
from tools_app.mcp.definitions import ServerKey
from tools_app.mcp.models import McpServerState
from tools_app.mcp.server import Server

logger = logging.getLogger(__name__)


class StateNotes:
    """The writer of states. It remembers what this process wrote last."""

    def __init__(self) -> None:
        self._written: dict[ServerKey, dict[str, Any]] = {}

    async def note(self, known: Server) -> None:
        """Writes the state of a server if it is another than the last."""
        key, values = known.definition.key, state_values(known)
        if self._written.get(key) == values:
            return
        self._written[key] = values
        try:
            await database.run(state_save, key, values)
        except Exception:  # contains: the server works whether or not its state is written
            self._written.pop(key, None)
            logger.warning("mcp_state_not_written", extra={"server": key.name}, exc_info=True)

    def clear(self) -> None:
        """Forgets what was written."""
        self._written.clear()


STATE_NOTES = process_wide(StateNotes(), reset=StateNotes.clear)
"""Process-wide instance, used by the connections."""


def state_values(known: Server) -> dict[str, Any]:
    """Returns the columns of a server's state."""
    return {
        "state": known.state or "unavailable",
        "reason": known.reason,
        "protocol": known.protocol,
        "tools": len(known.listing.tools),
        "left_out": [{"tool": each.tool, "reason": each.reason} for each in known.listing.left_out],
    }


def state_save(key: ServerKey, values: dict[str, Any]) -> None:
    """Saves what was seen of a server, unless its tenant is gone."""
    with write_transaction():
        if key.tenant_id is not None and not Tenant.objects.filter(pk=key.tenant_id).exists():
            return
        whose = Q(tenant__isnull=True) if key.tenant_id is None else Q(tenant_id=key.tenant_id)
        rows = McpServerState.objects.filter(whose, name=key.name)
        changed = {**values, "changed_at": clock.now()}
        if rows.update(**changed):
            return
        try:
            with transaction.atomic():
                McpServerState.objects.create(tenant_id=key.tenant_id, name=key.name, **changed)
        except IntegrityError:
            rows.update(**changed)
