"""The laws of every log and ledger, whatever was killed (docs/architecture.md, "What holds when something dies")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.stack.client import TERMINAL, Event
from tests.stack.deployment import Deployment

_SUMS = "SUM(input_tokens), SUM(output_tokens), COUNT(*)"


def offsets_have_no_gap(events: Sequence[Event]) -> None:
    assert [event.id for event in events] == list(range(1, len(events) + 1))


def every_run_ends_once(events: Sequence[Event], accepted: set[str]) -> None:
    """Each accepted prompt has one terminal event, after which nothing of its run follows."""
    ends = Counter(event.data["requestId"] for event in events if event.type in TERMINAL)
    assert ends == Counter(accepted)
    over: set[str] = set()
    for event in events:
        assert event.data["requestId"] not in over, event
        if event.type in TERMINAL:
            over.add(event.data["requestId"])


def texts_are_whole(events: Sequence[Event]) -> None:
    """The deltas of a message, without those that `run_retried` revoked, join to the text of `message_end`."""
    partial: dict[str, str] = {}
    answer: dict[str, str] = {}
    for event in events:
        run = event.data["requestId"]
        if event.type == "run_retried":
            partial.clear()
        elif event.type == "message_delta":
            partial[event.data["messageId"]] = partial.get(event.data["messageId"], "") + event.data["delta"]
        elif event.type == "message_end":
            assert partial.pop(event.data["messageId"]) == event.data["content"]
            answer[run] = event.data["content"]
        elif event.type == "agent_end":
            assert event.data["lastMessage"]["content"] == answer[run]


def usage_is_counted_once(deployment: Deployment) -> None:
    """The ledger has each response once. Its sums equal those of the runs and the sessions, and the sums of the days
    equal those of its folded rows."""
    doubled = "SELECT run_id, response_no FROM tenants_app_ledgerentry GROUP BY run_id, response_no HAVING COUNT(*) > 1"
    assert deployment.rows(doubled) == []
    ledger = deployment.rows(f"SELECT run_id, {_SUMS} FROM tenants_app_ledgerentry GROUP BY run_id ORDER BY run_id")
    of_runs = "SELECT id, input_tokens, output_tokens, turns FROM sessions_app_run WHERE turns > 0 ORDER BY id"
    assert [tuple(map(str, row)) for row in ledger] == [tuple(map(str, row)) for row in deployment.rows(of_runs)]
    sums = "SELECT SUM(input_tokens), SUM(output_tokens), SUM(turns) FROM "
    assert deployment.rows(sums + "sessions_app_run") == deployment.rows(sums + "sessions_app_agentsession")
    marked = "COUNT(*), SUM(input_tokens), COUNT(DISTINCT run_id) FROM tenants_app_ledgerentry WHERE folded"
    several = "(SELECT COUNT(DISTINCT run_id) FROM tenants_app_usagerun)"
    of_days = f"SUM(responses), SUM(input_tokens), SUM(runs) + {several} FROM tenants_app_usageday"
    [days], [rows] = deployment.rows(f"SELECT {of_days}"), deployment.rows(f"SELECT {marked}")
    assert [int(value or 0) for value in days] == [int(value or 0) for value in rows]
