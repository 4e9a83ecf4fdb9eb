"""One execution, as it is handed from the database's side to an executor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenants_app.models import Tenant
from tools_app.targets import Target
from tools_app.types import CallContext


@dataclass(frozen=True, slots=True)
class CallWork:
    """`call_id` is the idempotency key: the same at every attempt. `token_hash` is of the address for a late result,
    as it was given out first."""

    call_id: str
    args: Mapping[str, Any]
    target: Target
    tenant: Tenant
    context: CallContext
    token_hash: str | None = None
