"""What a built-in tool is: a name, a schema, and a coroutine that answers.

`run` may be called again with the same arguments after a crash in its middle, unless `idempotent` says that
it must not. Its exceptions are bugs; expected failures are an `Outcome` with a
sentence for the model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tools_app.types import CallContext, Outcome

Run = Callable[[Mapping[str, Any], CallContext], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Builtin:
    """A tool that the gateway itself brings; `requires_approval` is the operator's word, no client lowers it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Run
    requires_approval: bool = False
    hint: str | None = None
    idempotent: bool = True
