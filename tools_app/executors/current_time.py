"""`current_time`: the time now, in UTC or in a named time zone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core_app import clock
from tools_app.executors.base import Builtin
from tools_app.types import CallContext, Outcome


async def _run(args: Mapping[str, Any], context: CallContext) -> Outcome:
    name = args.get("timezone") or "UTC"
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return Outcome("error", "timezone must be a name of the IANA time zone database, such as Europe/Berlin.")
    return Outcome("ok", f"{clock.now().astimezone(zone).isoformat(timespec='seconds')} ({name})")


TOOL = Builtin(
    name="current_time",
    description="The current date and time.",
    parameters={
        "type": "object",
        "properties": {
            "timezone": {
                "type": "string",
                "maxLength": 64,
                "description": "IANA name (Europe/Berlin); UTC without it.",
            }
        },
        "additionalProperties": False,
    },
    run=_run,
)
