"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def since_text(moment: int | str) -> str:
    """Returns how long ago a moment was; it is ISO text or milliseconds since 1970."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else datetime.fromtimestamp(moment / 1000, UTC)
    seconds = (datetime.now(UTC) - at).total_seconds()
    return f"{duration_text(seconds)} ago" if seconds >= 60 else "just now"


def duration_text(seconds: float) -> str:
    """Returns a duration in its largest unit."""
    for size, name in UNITS:
        if (count := int(seconds // size)) > 0:
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{int(seconds)} s"
