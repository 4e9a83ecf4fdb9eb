"""An outage is logged once a minute in one line, and other records are unchanged."""

from __future__ import annotations

import logging

import psycopg
from redis.exceptions import ConnectionError as RedisAway

from gateway_project.observability.outage_log import POSTGRESQL_ADVICE, REDIS_ADVICE, REPEAT_SECONDS, OutageFilter


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(name: str, text: str, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, None) if error is not None else None
    return logging.LogRecord(name, logging.ERROR, "", 0, text, None, info)


def told(record: logging.LogRecord) -> tuple[str, str, str]:
    """Returns the name of the event, its cause and its advice."""
    return record.getMessage(), str(record.__dict__["cause"]), str(record.__dict__["advice"])


def away(text: str = "Error 111 connecting to 127.0.0.1:6379.") -> logging.LogRecord:
    return record("channels_redis.pubsub", "Unexpected exception in receive task", RedisAway(text))


def test_a_redis_that_is_away_is_one_line_without_a_traceback() -> None:
    outages, first = OutageFilter(), away()
    assert outages.filter(first)
    assert told(first) == ("redis_away", "ConnectionError: Error 111 connecting to 127.0.0.1:6379.", REDIS_ADVICE)
    assert (first.exc_info, first.levelname) == (None, "WARNING")
    assert not outages.filter(away())


def test_an_outage_that_lasts_is_said_again() -> None:
    clock = Clock()
    outages = OutageFilter(clock)
    assert outages.filter(away())
    clock.now += REPEAT_SECONDS - 1
    assert not outages.filter(away())
    clock.now += 1
    assert outages.filter(away())


def test_every_library_that_misses_postgresql_says_the_same_once() -> None:
    outages = OutageFilter()
    chained = RuntimeError("a job failed")
    chained.__cause__ = psycopg.OperationalError("server closed the connection unexpectedly\nDETAIL: more")
    listener = record("procrastinate.worker.legs", "Side task listener failed with exception", chained)
    assert outages.filter(listener)
    cause = "OperationalError: server closed the connection unexpectedly"
    assert told(listener) == ("postgresql_away", cause, POSTGRESQL_ADVICE)
    assert not outages.filter(record("psycopg.pool", "discarding closed connection: <Connection [BAD] at 0x7f>"))
    assert not outages.filter(record("psycopg.pool", "error connecting in 'pool-1': connection failed"))


def test_what_is_no_outage_passes_as_it_is() -> None:
    outages = OutageFilter()
    for other in (
        record("channels_redis.pubsub", "Unexpected exception in receive task", KeyError("a bug")),
        record("psycopg.pool", "the pool is growing"),
        record("procrastinate.worker", "job failed", ValueError("a bug")),
        record("gateway.hub", "something", RedisAway("away")),
    ):
        text, info = other.getMessage(), other.exc_info
        assert outages.filter(other)
        assert (other.getMessage(), other.exc_info) == (text, info)
