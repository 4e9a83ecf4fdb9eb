"""Ids have one form, are unique, and sort in the order of their creation."""

from __future__ import annotations

import re
from unittest.mock import Mock

import pytest

from core_app.ids import new_id

FORM = re.compile(r"run_[0-9a-hjkmnp-tv-z]{26}\Z")


def test_an_id_is_its_prefix_and_26_characters_without_those_that_look_alike() -> None:
    assert all(FORM.match(new_id("run")) for _ in range(1000))


def test_no_two_ids_are_alike_however_many_there_are_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core_app.ids.time.time_ns", Mock(return_value=1_700_000_000_000_000_000))
    made = {new_id("run") for _ in range(10_000)}
    assert len(made) == 10_000
    assert len({name[:14] for name in made}) == 1


def test_a_later_id_sorts_after_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [0, 1, 31, 32, 1023, 1_700_000_000_000, 1_700_000_000_001, 2**48 - 1]
    monkeypatch.setattr("core_app.ids.time.time_ns", Mock(side_effect=[moment * 1_000_000 for moment in moments]))
    made = [new_id("run") for _ in moments]
    assert made == sorted(made)
    assert made[0].startswith("run_0000000000")
    assert made[-1].startswith("run_7zzzzzzzzz")
