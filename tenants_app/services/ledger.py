"""Records the spend of model requests, each once: one in the caller's transaction, or many in one of their own.

The key of a row is the request: (`run_id`, `response_no`). Usage that a provider reported replaces an estimate of the
same request, an estimate replaces the row of a request that was running, and nothing replaces reported usage
(`tenants_app.ledger_kinds`). So it does not matter in which order a checkpoint and the meter write, or how often.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import Any

from django.db import connection

from core_app import clock
from core_app.database import write_transaction
from core_app.jsontext import clean_text
from tenants_app.ledger_kinds import ESTIMATED_KINDS, OPEN_KINDS
from tenants_app.models import ApiKey
from tenants_app.numbers import bounded_tokens, bounded_usd


@dataclass(slots=True)
class LedgerRow:
    """Spend of one model request. `response_no` is its number in the run; `created_at` is the time of its end.

    `cost_usd` is None for an unknown price. `cached_tokens` are part of the input, `reasoning_tokens` of the output.
    """

    tenant_id: int
    run_id: str
    response_no: int
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None
    api_key_id: int | None = None
    end_user: str | None = None
    session_ref: str = ""
    kind: str = "session"
    created_at: datetime = field(default_factory=clock.now)


def ledger_record_many(rows: Sequence[LedgerRow]) -> None:
    """Adds the spend of many requests in one transaction, for callers that batch. Of two rows of one request the last
    counts. Spend of a key that no longer exists is recorded without a key.

    The SQL is written by hand because `bulk_create` takes 60 µs per row, more than a relayed request may cost.
    """
    if not rows:
        return
    keys = {row.api_key_id for row in rows if row.api_key_id is not None}
    with write_transaction():
        known = set(ApiKey.objects.filter(id__in=keys).values_list("id", flat=True)) if keys else set()
        _insert({(row.run_id, row.response_no): _values(row, row.api_key_id in known) for row in rows}.values())


def ledger_record(
    *,
    tenant_id: int,
    run_id: str,
    response_no: int,
    model: str,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int = 0,
    reasoning_tokens: int = 0,
    cost_usd: Decimal | None = None,
    api_key_id: int | None = None,
    session_ref: str = "",
    end_user: str | None = None,
    kind: str = "session",
) -> None:
    """Adds one request's spend in the caller's transaction, with the fields of `LedgerRow`."""
    row = LedgerRow(
        tenant_id=tenant_id,
        run_id=run_id,
        response_no=response_no,
        model=model,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        reasoning_tokens=reasoning_tokens,
        cost_usd=cost_usd,
        api_key_id=api_key_id,
        session_ref=session_ref,
        end_user=end_user,
        kind=kind,
    )
    with write_transaction(savepoint=False):
        _insert([_values(row, api_key_id is not None)])


def _insert(rows: Collection[tuple[Any, ...]]) -> None:
    values = list(rows)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite" and len(values) > 1:
            # One statement for many rows: the interpreter switches threads between statements, and each switch delays
            # the event loop. Django's cursor is bypassed because it scans for placeholders with a regular expression,
            # which makes a row 50 % slower.
            for begin in range(0, len(values), _AT_ONCE):
                some = values[begin : begin + _AT_ONCE]
                statement = f"{_INSERT} VALUES {', '.join([_MARKS] * len(some))} {_REPLACE}"
                connection.connection.execute(statement, list(chain.from_iterable(some)))
        elif connection.vendor == "sqlite":
            cursor.execute(f"{_INSERT} VALUES {_MARKS.replace('?', '%s')} {_REPLACE}", values[0])
        else:
            columns = [list(column) for column in zip(*values, strict=True)]
            cursor.execute(f"{_INSERT} SELECT * FROM unnest({_ARRAYS}) {_REPLACE}", columns)


_COLUMNS = {
    "tenant_id": "bigint",
    "api_key_id": "bigint",
    "session_ref": "text",
    "run_id": "text",
    "response_no": "integer",
    "model": "text",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "cached_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "cost_usd": "numeric",
    "end_user": "text",
    "kind": "text",
    "created_at": "timestamptz",
}
_INSERT = f"INSERT INTO tenants_app_ledgerentry ({', '.join(_COLUMNS)})"
_MARKS = f"({', '.join('?' for _ in _COLUMNS)})"
_AT_ONCE = 500
"""Rows per statement. SQLite accepts 32,766 parameters in one."""

_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values())


def _names(kinds: Sequence[str]) -> str:
    return ", ".join(f"'{kind}'" for kind in kinds)


_REPLACED = [name for name in _COLUMNS if name not in ("tenant_id", "session_ref", "run_id", "response_no", "end_user")]
_OLD = "tenants_app_ledgerentry"
_OPEN, _ESTIMATED = _names(OPEN_KINDS), _names(ESTIMATED_KINDS)
_REPLACE = (
    f"ON CONFLICT (run_id, response_no) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _REPLACED)}"
    f" WHERE NOT {_OLD}.folded AND ({_OLD}.kind IN ({_OPEN})"
    f" OR ({_OLD}.kind IN ({_ESTIMATED}) AND excluded.kind NOT IN ({_OPEN})))"
)
"""Folded rows stay as they are, because the sums of their day have them. Session and end user of a row are never
written again: an erasure may have removed them meanwhile."""


def _values(row: LedgerRow, key_known: bool) -> tuple[Any, ...]:
    cost, moment = bounded_usd(row.cost_usd), row.created_at
    sqlite = connection.vendor == "sqlite"
    return (
        row.tenant_id,
        row.api_key_id if key_known else None,
        row.session_ref,
        row.run_id,
        row.response_no,
        _model(row.model),
        bounded_tokens(row.input_tokens),
        bounded_tokens(row.output_tokens),
        bounded_tokens(row.cached_tokens),
        bounded_tokens(row.reasoning_tokens),
        # In Django's own representation on SQLite: text, and UTC without a zone.
        str(cost) if sqlite and cost is not None else cost,
        None if row.end_user is None else clean_text(row.end_user)[:200],
        row.kind,
        str(moment.astimezone(UTC).replace(tzinfo=None)) if sqlite else moment,
    )


@lru_cache(maxsize=1024)
def _model(name: str) -> str:
    return clean_text(name)[:200]
