"""Access to the gateway's log events in tests."""

from __future__ import annotations

from typing import Any

import pytest


def lines(caplog: pytest.LogCaptureFixture, event: str | None = None) -> list[dict[str, Any]]:
    """Returns the gateway's log events so far, or those with one name."""
    own = [record.msg for record in caplog.records if record.name.startswith("gateway.")]
    return [line for line in own if isinstance(line, dict) and event in (None, line["event"])]
