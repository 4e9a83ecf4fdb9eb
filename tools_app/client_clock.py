"""The clocks of client tools: the time for a result begins when a client that can run the tool is shown the call.

A call that nobody is connected for waits for a client, GATEWAY_CLIENT_TOOL_TIMEOUT_SECONDS at most
(`tools_app.waits.open_wait`). The first delivery of its request shortens the wait to the time-out of the tool; further
deliveries change nothing, because they could only end later. Clients that only read, by a stream token or a role,
cannot run a tool and start no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from datetime import timedelta

import structlog
from django.db import DatabaseError
from django.db.models.functions import Least

from core_app import database, jsontext
from core_app.database import database_moment
from core_app.lifecycle import process_wide
from core_app.log_lines import error_summary
from events_app.batches import StoredEvent
from tenants_app.principal import SESSIONS, Principal
from tools_app.models import OUTSIDE_PREFIX, ToolCall
from tools_app.states import CallKind, CallState
from tools_app.targets import target_of

MAX_REMEMBERED = 10_000

logger = structlog.get_logger("gateway.tools")


class ClientClocks:
    """The calls whose clocks this process has started: each follower of a session is shown the same request."""

    def __init__(self) -> None:
        self._started: OrderedDict[str, None] = OrderedDict()

    async def start(self, principal: Principal, events: Sequence[StoredEvent]) -> None:
        """Starts the clocks of the calls that `events` (`tool_call_requested`) request, before the caller sees them.

        A database that fails is logged: the call then has the time of one that nobody is connected for.
        """
        if not principal.allows(SESSIONS):
            return
        asked = [jsontext.decode(event.data)["callId"] for event in events]
        new = [call for call in asked if call not in self._started and not call.startswith(OUTSIDE_PREFIX)]
        if not new:
            return
        try:
            await database.run(clocks_start, new)
        except DatabaseError as error:
            logger.warning("client_clock_failed", calls=len(new), error=error_summary(error))
            return
        self._started.update(dict.fromkeys(new))
        while len(self._started) > MAX_REMEMBERED:
            self._started.popitem(last=False)

    def forget(self) -> None:
        """Forgets what was started."""
        self._started.clear()


def clocks_start(call_ids: Collection[str]) -> None:
    """Lets the waits of calls that still wait for a client end at their tools' time-outs from now, or earlier."""
    moment = database_moment()
    for call in ToolCall.objects.filter(pk__in=call_ids, state=CallState.REQUESTED, kind=CallKind.CLIENT):
        target = target_of(call)
        if target is None or target.kind is not CallKind.CLIENT:
            continue
        until = moment + timedelta(seconds=target.client_seconds)
        waiting = ToolCall.objects.filter(pk=call.pk, state=CallState.REQUESTED)
        waiting.update(expires_at=Least("expires_at", until))


CLIENT_CLOCKS = process_wide(ClientClocks(), reset=ClientClocks.forget)
"""Process-wide instance."""
