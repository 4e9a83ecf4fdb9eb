"""The recorded run: a scenario through the whole public wire of a gateway, written down section by section.

`recorded()` plays it against a gateway of its own and gives the text of every file; tests/contract/recorded holds what
they were. Nothing in it knows the gateway's code, so that it says the same of any code that has this wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.contract.recording import ending, events, pages, refusals, relayed, rest, sockets, streams
from tests.contract.recording.client import Client
from tests.contract.recording.place import place_started
from tests.contract.recording.transcript import Transcript

SECTIONS: Mapping[str, Callable[[Client], None]] = {
    "limits.txt": relayed.limits,
    "events.txt": events.record,
    "streams.txt": streams.record,
    "sockets.txt": sockets.record,
    "rest.txt": rest.record,
    "refusals.txt": refusals.record,
    "relayed.txt": relayed.record,
    "pages.txt": pages.record,
    "openapi.json": pages.document,
    "ending.txt": ending.record,
}
"""By their files, in the order in which they are played: later ones read what earlier ones left."""


def recorded(directory: Path) -> dict[str, str]:
    """The text of every file, from a gateway that keeps its state in `directory`."""
    said: dict[str, str] = {}
    with place_started(directory) as place:
        for name, record in SECTIONS.items():
            transcript = Transcript()
            record(Client(place, transcript))
            said[name] = transcript.text()
    return said
