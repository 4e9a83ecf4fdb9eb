"""The attempt of a background completion: the request is relayed, and the provider's events are committed as they come.

A provider is always asked for a stream, which is what clients resume; the whole answer is built from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, get_args

import msgspec

from agents_app.engine import Finished, Leg, LegOutcome
from core_app import database, jsontext
from core_app.errors import GatewayError
from inference_app.conversion import exact_json
from inference_app.conversion.sse import DONE, EventParser
from inference_app.converters import CONVERTERS
from inference_app.relay import Envelope, RequestKind, UpstreamRequest, upstream_call
from responses_app.attempts import Attempt, attempt_complete
from responses_app.callers import caller_of
from responses_app.completions.answers import Answer, new_answer
from responses_app.completions.attempts import LAST_OF_MESSAGE, completion_note_error
from responses_app.completions.events import Json, chunks_join
from responses_app.completions.wire import dialect_of
from responses_app.fenced_log import FencedLog
from responses_app.models import Kind, StoredResponse
from responses_app.outcomes import Broken, broken_outcome, failed_outcome
from tenants_app.principal import Principal

MAX_TEXT = 2000
"""Characters of the text that the run keeps as its answer; the completion has all of it."""

_KINDS: Mapping[str, RequestKind] = {kind: kind for kind in get_args(RequestKind)}


class QuietErrors:
    """A dialect that ends no stream: the next attempt, or the end of the run, says what becomes of it."""

    def __init__(self, kind: str) -> None:
        self._dialect = dialect_of(kind)
        self.error: GatewayError | None = None

    def body(self, error: GatewayError) -> Mapping[str, Any]:
        return self._dialect.body(error)

    def event(self, error: GatewayError) -> bytes:
        self.error = error
        return b""


async def completion_run(leg: Leg, attempt: Attempt) -> LegOutcome:
    """Makes one attempt and returns its outcome."""
    try:
        return await _relay(leg, attempt)
    except GatewayError as error:
        await leg.transact(partial(completion_note_error, attempt.pk, error))
        return failed_outcome(error)
    except Broken:
        return await broken_outcome(leg, attempt.pk, None)


async def _relay(leg: Leg, attempt: Attempt) -> LegOutcome:
    row, principal = await database.run(_load, attempt.pk)
    asked = Envelope.open(row.request.encode())
    taker = _Taker(row, wants_usage=asked.wants_usage)
    dialect = QuietErrors(row.kind)
    request = UpstreamRequest(
        kind=_KINDS[row.kind],
        envelope=asked.with_changes(_changes(row, asked)),
        principal=principal,
        request_id=f"{leg.run.run_id}.{leg.run.attempt}",
        dialect=dialect,
        converters=CONVERTERS[_KINDS[row.kind]],
        forwarded_headers=jsontext.decode(row.body).get("headers") or {},
    )
    events = FencedLog(leg, attempt.stream_id, join=chunks_join)
    try:
        parser = EventParser()
        async with upstream_call(request) as upstream:
            request.envelope.forget_body()
            data = upstream.first or await upstream.more()
            while data:
                await _commit(events, taker.take(parser.feed(data)))
                data = await upstream.more()
        await _commit(events, taker.take(parser.end()))
        if dialect.error is not None:
            await leg.transact(partial(completion_note_error, attempt.pk, dialect.error))
            return await broken_outcome(leg, attempt.pk, dialect.error)
        if (answer := taker.answer.body()) is None:
            raise Broken
        await events.drain()
        await leg.transact(partial(attempt_complete, attempt.pk, answer))
    finally:
        await events.close()
    return Finished(taker.answer.text()[:MAX_TEXT])


def _changes(row: StoredResponse, asked: Envelope) -> dict[str, bytes | None]:
    changes: dict[str, bytes | None] = {"messages": row.input.encode(), "stream": b"true"}
    if row.kind == Kind.CHAT:
        options = asked.value_of("stream_options")
        given = options if isinstance(options, dict) else {}
        changes["stream_options"] = msgspec.json.encode({**given, "include_usage": True})
    return changes


async def _commit(events: FencedLog, chunks: Iterable[Json]) -> None:
    for chunk in chunks:
        await events.add(chunk)


class _Taker:
    """Reads the provider's events: each is a part of the answer, and is for the client but for what it did not ask."""

    def __init__(self, row: StoredResponse, *, wants_usage: bool) -> None:
        self.answer: Answer = new_answer(row.kind)
        self._public_id = row.public_id
        self._wants_usage = wants_usage

    def take(self, datas: Iterable[bytes]) -> Iterable[Json]:
        """Yields the events for the client, with the completion's id."""
        for data in datas:
            event = None if data.strip() == DONE else exact_json.decode(data)
            if not isinstance(event, dict) or event.get("type") == "ping":
                continue
            if "choices" in event:
                event["id"] = self._public_id
            elif isinstance(message := event.get("message"), dict):
                event["message"] = {**message, "id": self._public_id}
            self.answer.add(event)
            if event.get("type") != LAST_OF_MESSAGE and (event.get("choices") != [] or self._wants_usage):
                yield event


def _load(pk: int) -> tuple[StoredResponse, Principal]:
    row = StoredResponse.objects.get(pk=pk)
    return row, caller_of(row)
