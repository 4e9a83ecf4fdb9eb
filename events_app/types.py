"""The base of all events, and the registry of vocabularies: one closed set of events per kind of stream.

A room or face that has streams of its own declares its events, says in a `Vocabulary` how they are encoded, and
registers it when Django starts. The log encodes every event through the vocabulary of its stream's kind; an event
that the kind does not know is an error in the code and raises UnknownEvent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Base of all events. A subclass names its `type` and declares its data as fields, in Python's names."""

    type: ClassVar[str] = ""
    whole: ClassVar[bool] = False
    """True for events that must be read as they were written, whatever their size. All others are shortened above
    `core_app.event_size.MAX_EVENT_BYTES`."""

    def split(self, characters: int) -> Sequence[Event]:
        """The event as one or more events whose texts have at most `characters`; only deltas can be split."""
        return (self,)

    def join(self, following: Event, characters: int) -> Event | None:
        """One event in place of this and the next one, or None where the two have to stay apart."""
        return None


class UnknownEvent(Exception):
    """The event was appended to a stream of a kind whose vocabulary does not have it."""


class UnknownStreamKind(Exception):
    """No vocabulary is registered for streams of this kind."""


class Vocabulary(ABC):
    """The events that streams of one kind take, by their types, and their form on the wire.

    `webhooks` are the types that tenants may subscribe webhooks to.
    """

    def __init__(self, kind: str, events: Sequence[type[Event]], *, webhooks: Sequence[type[Event]] = ()) -> None:
        self.kind = kind
        self.events: Mapping[str, type[Event]] = {event.type: event for event in events}
        self.webhooks = tuple(event.type for event in webhooks)
        self._classes = frozenset(events)

    def encode(self, event: Event, *, run_id: str | None, at: str) -> bytes:
        """The event's wire object as one line of JSON. Raises UnknownEvent."""
        if type(event) not in self._classes:
            raise UnknownEvent(f"Streams of kind {self.kind!r} do not know the event {type(event).__name__}.")
        return self.write(event, run_id, at)

    @abstractmethod
    def write(self, event: Event, run_id: str | None, at: str) -> bytes:
        """Encodes an event of this vocabulary. `at` is the moment of its commit in ISO 8601."""


VOCABULARIES: dict[str, Vocabulary] = {}
"""The registered vocabularies by the kind of their streams. Filled by `vocabulary_register`."""


def vocabulary_register(vocabulary: Vocabulary) -> None:
    """Makes streams of the vocabulary's kind known to the log; to be called in `AppConfig.ready`."""
    if VOCABULARIES.setdefault(vocabulary.kind, vocabulary) is not vocabulary:
        raise ValueError(f"Streams of kind {vocabulary.kind!r} have a vocabulary already.")


def vocabulary_get(kind: str) -> Vocabulary:
    """The vocabulary of streams of `kind`. Raises UnknownStreamKind."""
    try:
        return VOCABULARIES[kind]
    except KeyError:
        raise UnknownStreamKind(f"No vocabulary is registered for streams of kind {kind!r}.") from None


def webhook_types() -> tuple[str, ...]:
    """The event types of all vocabularies that tenants may subscribe webhooks to."""
    return tuple(dict.fromkeys(name for vocabulary in VOCABULARIES.values() for name in vocabulary.webhooks))
