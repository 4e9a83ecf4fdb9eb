"""What a transaction takes of what others wait for follows from how long the last ones lasted."""

from __future__ import annotations

from core_app.batch_size import HELD_SECONDS, LEAST, Pace

MOST = 5000


def test_while_transactions_are_short_they_take_more_and_never_too_much() -> None:
    pace = Pace()
    first = pace.limit(MOST)
    pace.note(0.0, MOST)
    assert pace.limit(MOST) == 2 * first
    for _ in range(20):
        pace.note(0.0, MOST)
    assert pace.limit(MOST) == MOST


def test_one_that_lasted_too_long_is_followed_by_smaller_ones_and_never_by_none() -> None:
    pace = Pace()
    first = pace.limit(MOST)
    pace.note(2 * HELD_SECONDS, MOST)
    assert pace.limit(MOST) == first // 2
    for _ in range(20):
        pace.note(2 * HELD_SECONDS, MOST)
    assert pace.limit(MOST) == LEAST


def test_one_of_the_right_length_changes_nothing() -> None:
    pace = Pace()
    first = pace.limit(MOST)
    pace.note(HELD_SECONDS / 2, MOST)
    assert pace.limit(MOST) == first
