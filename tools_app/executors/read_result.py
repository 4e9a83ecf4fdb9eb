"""`read_result`: a page of an earlier tool result of the session, of which the model has only the ends.

It is offered once a result was cut (`agents_app.result_cut`), to every session and without a mention in its `tools`. It
reads what its own session has stored, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app.database import run_leg
from tools_app.executors.base import Builtin
from tools_app.types import CallContext, Outcome, ToolSpec

NAME = "read_result"

PAGE_CHARACTERS = 4_000
"""Length of a page without `length`."""

MAX_PAGE_CHARACTERS = 20_000


async def _run(args: Mapping[str, Any], context: CallContext) -> Outcome:
    if context.read_result is None:
        return Outcome("error", "Earlier results cannot be read here.")
    whole = await run_leg(context.tenant_id, context.read_result, args["call_id"])
    if whole is None:
        return Outcome("error", "This session has no result of a call with that call_id.")
    start = args.get("offset") or 0
    if start >= len(whole) and start:
        return Outcome("error", f"The result has {len(whole)} characters: offset must be less.")
    page = whole[start : start + (args.get("length") or PAGE_CHARACTERS)]
    end = start + len(page)
    more = f" Go on with offset {end}." if end < len(whole) else " This is the end."
    return Outcome("ok", f"{page}\n[Characters {start} to {end} of {len(whole)}.{more}]")


TOOL = Builtin(
    name=NAME,
    description=(
        "Read a part of an earlier tool result that was too long to be shown whole. The note in the shortened result"
        " has the call_id and the offset of the part that is left out."
    ),
    parameters={
        "type": "object",
        "properties": {
            "call_id": {"type": "string", "minLength": 1, "maxLength": 200},
            "offset": {
                "type": "integer",
                "minimum": 0,
                "maximum": 1_000_000_000,
                "description": "Characters before the part; 0 without it.",
            },
            "length": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_PAGE_CHARACTERS,
                "description": f"Characters of the part; {PAGE_CHARACTERS} without it.",
            },
        },
        "required": ["call_id"],
        "additionalProperties": False,
    },
    run=_run,
)
SPEC = ToolSpec(TOOL.name, TOOL.description, TOOL.parameters)
