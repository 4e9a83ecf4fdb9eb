"""The size of a batch follows the duration of recent transactions."""

from __future__ import annotations

from core_app.batch_size import MIN_ROWS, TARGET_SECONDS, BatchSizer

MOST = 5000


def test_while_transactions_are_short_they_take_more_and_never_too_much() -> None:
    sizer = BatchSizer()
    first = sizer.limit(MOST)
    sizer.record(0.0, MOST)
    assert sizer.limit(MOST) == 2 * first
    for _ in range(20):
        sizer.record(0.0, MOST)
    assert sizer.limit(MOST) == MOST


def test_one_that_lasted_too_long_is_followed_by_smaller_ones_and_never_by_none() -> None:
    sizer = BatchSizer()
    first = sizer.limit(MOST)
    sizer.record(2 * TARGET_SECONDS, MOST)
    assert sizer.limit(MOST) == first // 2
    for _ in range(20):
        sizer.record(2 * TARGET_SECONDS, MOST)
    assert sizer.limit(MOST) == MIN_ROWS


def test_one_of_the_right_length_changes_nothing() -> None:
    sizer = BatchSizer()
    first = sizer.limit(MOST)
    sizer.record(TARGET_SECONDS / 2, MOST)
    assert sizer.limit(MOST) == first
