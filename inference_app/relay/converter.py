"""What turns a request of one wire into another's, and the other's answer back: made anew for every attempt.

A converter holds the state of one stream. `feed` gets whole events in the provider's wire and returns whole events
in the client's; the relay has taken usage and errors out before, so a converter never sees a provider's error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from inference_app.catalogue.config import Wire


class Converter(Protocol):
    """One request's conversion. Raises BadRequest from `request` for what the other wire cannot say."""

    def request(self, body: bytes) -> bytes:
        """The body for the provider; its `model` is already the provider's own name."""

    def answer(self, body: bytes) -> bytes:
        """A whole answer; ValueError when it is not one of the provider's wire."""

    def feed(self, data: bytes) -> bytes:
        """What the client gets for these events; may be empty. ValueError for garbage."""

    def finish(self) -> bytes:
        """What ends the client's stream after the provider's has ended well."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers about the conversion (`x-gateway-dropped-tools`), known once `request` was called."""


ConverterFactory = Callable[[], Converter]
Converters = Mapping[Wire, ConverterFactory]
