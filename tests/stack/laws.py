"""The laws of every log and ledger, whatever was killed (docs/architecture.md, "What holds when something dies")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import zip_longest

from tests.stack.client import TERMINAL, Event, Seen
from tests.stack.deployment import Deployment

_WHOLE = "CASE WHEN r.state = 'completed' AND r.attempt = r.leg THEN 1 ELSE 0 END"
_SPEND_OF_RUNS = (
    f"SELECT r.id, {_WHOLE}, r.created_at, r.ended_at, r.turns, r.input_tokens + r.output_tokens,"
    " COUNT(l.id), COALESCE(SUM(l.input_tokens + l.output_tokens), 0)"
    " FROM sessions_app_run r LEFT JOIN tenants_app_ledgerentry l ON l.run_id = r.id"
    " GROUP BY r.id, r.state, r.attempt, r.leg, r.turns, r.input_tokens, r.output_tokens,"
    " r.created_at, r.ended_at"
)
"""For each run: whether it went on without an interruption, its span, its responses and tokens, and its rows and their
tokens."""

Span = tuple[datetime, datetime]


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


def reader_has_the_log(reader: Seen, log: Sequence[Event], *, went_back: bool) -> None:
    """A client has exactly the log. Who saw events that were lost was told so, with the position that it had and the
    one that still holds; nobody else was."""
    assert reader.complaints == []
    differ = next((pair for pair in zip_longest(reader.events, log) if pair[0] != pair[1]), None)
    assert differ is None, f"a client has {differ[0]} where the log has {differ[1]}; it was told {reader.resets}"
    assert went_back or reader.resets == []
    held = {event.position for event in log}
    for told in reader.resets:
        assert told.position == str(told.data["to"])
        assert str(told.data["from"]) not in held, f"{told.data}: nothing was lost, and the reader was reset"


def positions_rise(log: Sequence[Event]) -> None:
    """Offsets have no gap, and a later event never is of an earlier generation."""
    offsets_have_no_gap(log)
    generations = [int(event.position.partition(".")[2] or 0) for event in log]
    assert generations == sorted(generations)


def usage_is_counted_once(deployment: Deployment, forgotten: Sequence[Span] = ()) -> None:
    """The ledger has each request once, and at least the usage of every run. It has more only for runs that were
    interrupted or did not end well: what their other requests cost. A database that went back in the spans
    `forgotten` has lost attempts whose requests cost all the same, and gives their numbers again: a run of such a span
    has a row for each response, and no more is known. The sums of the runs equal those of the sessions, and the sums
    of the days those of the ledger's folded rows."""
    doubled = "SELECT run_id, response_no FROM tenants_app_ledgerentry GROUP BY run_id, response_no HAVING COUNT(*) > 1"
    assert deployment.rows(doubled) == []
    for run, whole, began, ended, turns, tokens, rows, paid in deployment.rows(_SPEND_OF_RUNS):
        told = f"{run}, {began} to {ended}: {turns} turns of {tokens} tokens, {rows} rows of {paid}; {forgotten}"
        assert rows >= turns, f"a response is not in the ledger: {told}"
        if any(began <= until and (ended is None or ended >= since) for since, until in forgotten):
            continue
        assert paid >= tokens, f"the run used more than the ledger has: {told}"
        assert not whole or (rows, paid) == (turns, tokens), f"a request is in the ledger twice: {told}"
    sums = "SELECT SUM(input_tokens), SUM(output_tokens), SUM(turns) FROM "
    assert deployment.rows(sums + "sessions_app_run") == deployment.rows(sums + "sessions_app_agentsession")
    marked = "COUNT(*), SUM(input_tokens), COUNT(DISTINCT run_id) FROM tenants_app_ledgerentry WHERE folded"
    several = "(SELECT COUNT(DISTINCT run_id) FROM tenants_app_usagerun)"
    of_days = f"SUM(responses), SUM(input_tokens), SUM(runs) + {several} FROM tenants_app_usageday"
    [days], [rows] = deployment.rows(f"SELECT {of_days}"), deployment.rows(f"SELECT {marked}")
    assert [int(value or 0) for value in days] == [int(value or 0) for value in rows]
