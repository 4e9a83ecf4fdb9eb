"""The age of the events of a mesh stream, which have their time in their data."""

from __future__ import annotations

from datetime import datetime

from core_app import jsontext
from events_app import log
from events_app.positions import position
from faces.mesh.events import MESH_EVENTS

_OWN_TYPES = frozenset(MESH_EVENTS.events)


def offset_before(stream_id: int, before: datetime) -> int:
    """Returns the offset of the newest own event that is older than `before`, 0 for none: by halving, so that a long
    stream costs a few reads."""
    here = position(stream_id)
    limit = before.timestamp() * 1000
    low, high = here.floor, here.head
    while low < high:
        middle = (low + high) // 2
        following = log.read(stream_id, after=middle, limit=1, types=_OWN_TYPES, through=high)
        if following and jsontext.decode(following[0].data)["timestamp"] < limit:
            low = following[0].offset
        else:
            high = middle
    return low if low > here.floor else 0
