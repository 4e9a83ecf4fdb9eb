"""`demo_approval`: the tool for which the demo engine asks approval. It confirms and does nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools_app.executors.base import Builtin
from tools_app.types import CallContext, Outcome


async def _run(args: Mapping[str, Any], context: CallContext) -> Outcome:
    return Outcome("ok", f"Approved and done (nothing was changed): {args.get('action', 'demo')}")


TOOL = Builtin(
    name="demo_approval",
    description="Pretend to do something that needs a human's approval.",
    parameters={
        "type": "object",
        "properties": {"action": {"type": "string", "maxLength": 500}},
        "additionalProperties": False,
    },
    run=_run,
    requires_approval=True,
    hint="A demonstration: nothing happens when you approve.",
)
