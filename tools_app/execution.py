"""Execution of a call by the executor of its kind, and the boundary where an executor's bug becomes a tool error."""

from __future__ import annotations

import logging

from core_app.errors import GatewayError
from core_app.ids import new_id
from tools_app.executors import callback
from tools_app.executors.base import Execution
from tools_app.types import Later, Outcome, unknown_outcome

logger = logging.getLogger(__name__)


async def execute(execution: Execution) -> Outcome | Later:
    """Makes one attempt and returns its outcome; raises nothing but CancelledError."""
    target = execution.target
    try:
        if target.builtin is not None:
            return await target.builtin.run(execution.args, execution.context)
        return await callback.call(execution)
    except GatewayError as error:
        return Outcome("error", error.message)
    except Exception:  # contains: a bug in an executor must cost its call, never the run
        error_id = new_id("err")
        logger.exception("executor_failed", extra={"error_id": error_id, "call_id": execution.call_id})
        reason = f"The tool failed inside the gateway; the log names it {error_id}."
        return Outcome("error", reason) if target.idempotent else unknown_outcome(reason)
