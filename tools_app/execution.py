"""Executing a call by the executor of its kind: the one boundary where a tool's bug becomes a tool's error."""

from __future__ import annotations

import logging

from core_app.errors import GatewayError
from core_app.ids import new_id
from tools_app.executors import callback
from tools_app.executors.work import CallWork
from tools_app.types import Later, Outcome

logger = logging.getLogger(__name__)


async def execute(work: CallWork) -> Outcome | Later:
    """The outcome of one attempt; it never raises but for being cancelled."""
    target = work.target
    try:
        if target.builtin is not None:
            return await target.builtin.run(work.args, work.context)
        return await callback.call(work)
    except GatewayError as error:
        return Outcome("error", error.message)
    except Exception:  # a bug in an executor must cost its call, never the run
        error_id = new_id("err")
        logger.exception("executor failed", extra={"error_id": error_id, "call_id": work.call_id})
        return Outcome("error", f"The tool failed inside the gateway; the log names it {error_id}.")
