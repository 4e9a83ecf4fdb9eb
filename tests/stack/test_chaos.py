"""The instruments of `chaos`: readers that notice what they should have been told, a shifted clock, a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stack import laws
from tests.stack.client import Event, until
from tests.stack.database_faults import is_full
from tests.stack.fleet import directory_made
from tests.stack.postgres_process import PostgresMissing, PostgresProcess
from tests.stack.reader import Resettable
from tests.stack.shifted_clock import ClockMissing, ShiftedClock
from tests.stack.small_disk import DiskMissing, SmallDisk

DAY = 86_400


def event(position: str) -> Event:
    return Event.of(position, "message_delta", {"delta": position})


def dropped(since: int | str, to: int | str) -> Event:
    return Event.of(str(to), "events_dropped", {"from": since, "to": to, "reason": "reset"})


def reader_of(*shown: Event) -> Resettable:
    reader = Resettable()
    for each in shown:
        reader.take(each)
    return reader


LOG = [event("1"), event("2"), event("3.7"), event("4.7")]


def test_a_reader_that_was_reset_has_the_log() -> None:
    lost = [event("3"), event("4")]
    reader = reader_of(*LOG[:2], *lost, dropped(4, 2), *LOG[2:])
    laws.reader_has_the_log(reader, LOG, went_back=True)
    laws.positions_rise(LOG)


@pytest.mark.parametrize(
    "shown",
    [
        [*LOG[:2], event("3"), *LOG[3:]],
        [*LOG[:2], *LOG[3:]],
        [*LOG[:3], dropped("3.7", 2), *LOG[2:]],
        [*LOG[:2], event("3"), dropped(2, 2), *LOG[2:]],
        LOG[:3],
    ],
    ids=["not told", "gap", "told without a loss", "told of another position", "behind"],
)
def test_a_reader_that_was_told_wrongly_breaks_the_law(shown: list[Event]) -> None:
    with pytest.raises(AssertionError):
        laws.reader_has_the_log(reader_of(*shown), LOG, went_back=True)


def test_a_reset_breaks_the_law_of_a_database_that_never_went_back() -> None:
    reader = reader_of(*LOG[:2], event("3"), dropped(3, 2), *LOG[2:])
    with pytest.raises(AssertionError):
        laws.reader_has_the_log(reader, LOG, went_back=False)


def test_generations_of_a_log_only_rise() -> None:
    with pytest.raises(AssertionError):
        laws.positions_rise([event("1"), event("2.7"), event("3")])


def test_a_shifted_clock_shifts_the_date_and_no_duration(tmp_path: Path) -> None:
    try:
        clock = ShiftedClock(tmp_path)
    except ClockMissing as missing:
        pytest.skip(str(missing))
    program = "import time, datetime as d; print(time.time(), d.datetime.now(d.UTC).timestamp(), time.monotonic())"
    environment = os.environ | clock.variables(-DAY)
    before, monotonic = time.time(), time.monotonic()
    shown = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout
    after, monotonic_after = time.time(), time.monotonic()
    wall, wall_of_datetime, since_start = map(float, shown.split())
    assert before - DAY <= wall <= wall_of_datetime + 1e-3 <= after - DAY + 1
    assert monotonic <= since_start <= monotonic_after


def test_a_full_disk_refuses_to_grow_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    try:
        disk = SmallDisk(tmp_path)
    except DiskMissing as missing:
        pytest.skip(str(missing))
    try:
        file = disk.directory / "file"
        file.write_bytes(b"x" * 100_000)
        disk.fill()
        with pytest.raises(OSError, match="space") as refused, (disk.directory / "more").open("wb") as more:
            more.write(b"x" * 100_000)
        assert refused.value.errno == errno.ENOSPC
        disk.free()
        (disk.directory / "more").write_bytes(b"x" * 100_000)
    finally:
        disk.end()


async def test_postgresql_on_a_full_disk_refuses_and_goes_on_when_there_is_room() -> None:
    with ExitStack() as stack:
        # Its user must reach the directory, which pytest's own does not allow.
        directory = directory_made(stack)
        try:
            disk = SmallDisk(directory)
            stack.callback(disk.end)
            postgres = PostgresProcess(disk.directory)
        except (DiskMissing, PostgresMissing) as missing:
            pytest.skip(str(missing))
        stack.callback(postgres.end)
        postgres.start()
        assert not is_full(postgres)
        disk.fill()
        assert is_full(postgres)
        disk.free()
        if not postgres.alive:
            postgres.start()
        # It may have crashed and be recovering.
        await until(lambda: not is_full(postgres), 30, "PostgreSQL writes again")
