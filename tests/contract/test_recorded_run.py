"""The recorded run is played again and says what it said when it was recorded, byte for byte.

GATEWAY_RECORD=1 writes the files anew.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from tests.contract.recorded_run import SECTIONS, recorded

GOLDEN = Path(__file__).parent / "recorded"
SHOWN = 200
"""Lines of a difference that are worth reading."""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return recorded(tmp_path_factory.mktemp("recorded"))


@pytest.mark.parametrize("name", SECTIONS)
def test_the_wire_says_what_was_recorded(said: dict[str, str], name: str) -> None:
    golden = GOLDEN / name
    if os.environ.get("GATEWAY_RECORD") == "1":
        golden.write_text(said[name], encoding="utf-8", newline="\n")
    before, now = golden.read_text(encoding="utf-8").split("\n"), said[name].split("\n")
    different = list(difflib.unified_diff(before, now, "recorded", "said", lineterm=""))
    assert not different, "\n".join(different[:SHOWN])


def test_every_file_is_of_a_section() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(SECTIONS)
