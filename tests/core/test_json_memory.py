"""Encoded JSON that is kept takes the memory of its bytes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.conf import settings

KEEPING = """
from core_app.jsontext import encode

def resident():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * 4096

kept = [encode(number) for number in range(1000)]
before = resident()
kept += [encode({"type": "message_delta", "delta": "word", "offset": number}) for number in range(20_000)]
print((resident() - before) // 20_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_short_results_hold_no_blocks_of_the_encoders_buffer() -> None:
    command = [sys.executable, "-c", KEEPING]
    kept = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=True).stdout
    assert int(kept) < 1000
