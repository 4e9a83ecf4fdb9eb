"""The recorded run is played again and says what it said when it was recorded, byte for byte.

GATEWAY_RECORD=1 writes the files anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.recorded_run import SECTIONS, recorded

GOLDEN = Path(__file__).parent / "recorded"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return recorded(tmp_path_factory.mktemp("recorded"))


@pytest.mark.parametrize("section", SECTIONS)
def test_the_wire_says_what_was_recorded(said: dict[str, str], section: str) -> None:
    golden = GOLDEN / f"{section}.txt"
    if os.environ.get("GATEWAY_RECORD") == "1":
        golden.write_text(said[section], encoding="utf-8", newline="\n")
    assert said[section].split("\n") == golden.read_text(encoding="utf-8").split("\n")
