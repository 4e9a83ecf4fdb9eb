"""The interface of a built-in tool, and the input of an execution.

`run` may be called again with the same arguments after a crash, unless `idempotent` is false. An exception is a bug;
an expected failure is an `Outcome` with a sentence for the model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenants_app.models import Tenant
from tools_app.types import CallContext, Outcome

if TYPE_CHECKING:
    from tools_app.targets import Target

Run = Callable[[Mapping[str, Any], CallContext], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Builtin:
    """A tool that ships with the gateway, or that an MCP server has. A client's policy cannot lower its
    `requires_approval`. The schema of a tool that is not `trusted` came from outside, and arguments are checked against
    it only if it `is_checked`."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Run
    requires_approval: bool = False
    hint: str | None = None
    idempotent: bool = True
    trusted: bool = True
    is_checked: bool = True


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a call, as an executor receives it.

    `call_id` is the idempotency key, the same at every attempt. `token_hash` is the stored hash of the token in
    `resultUrl`.
    """

    call_id: str
    args: Mapping[str, Any]
    target: Target
    tenant: Tenant
    context: CallContext
    token_hash: str | None = None
