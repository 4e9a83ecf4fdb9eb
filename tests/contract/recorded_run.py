"""The recorded run: a scenario through the whole public wire of a gateway, written down section by section.

`recorded()` plays it against a gateway of its own and gives the text of every section; tests/contract/recorded holds
what they were. Nothing in it knows the gateway's code, so that it says the same of any code that has this wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.contract.recording import events, refusals, rest, sockets, streams
from tests.contract.recording.client import Client
from tests.contract.recording.place import place_started
from tests.contract.recording.transcript import Transcript

SECTIONS: Mapping[str, Callable[[Client], None]] = {
    "events": events.record,
    "streams": streams.record,
    "sockets": sockets.record,
    "rest": rest.record,
    "refusals": refusals.record,
}
"""In the order in which they are played: later ones read what earlier ones left."""


def recorded(directory: Path) -> dict[str, str]:
    """Every section by its name, from a gateway that keeps its state in `directory`."""
    said: dict[str, str] = {}
    with place_started(directory) as place:
        for name, record in SECTIONS.items():
            transcript = Transcript()
            record(Client(place, transcript))
            said[name] = transcript.text()
    return said
