"""What the gateway logged, as the pairs it was logged with."""

from __future__ import annotations

from typing import Any

import pytest


def lines(caplog: pytest.LogCaptureFixture, event: str | None = None) -> list[dict[str, Any]]:
    """The gateway's own lines so far, or those of one event."""
    own = [record.msg for record in caplog.records if record.name.startswith("gateway.")]
    return [line for line in own if isinstance(line, dict) and event in (None, line["event"])]
