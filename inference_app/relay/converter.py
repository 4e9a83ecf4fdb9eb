"""The interface of converters: a request of one wire becomes another's, and the response comes back converted.

A converter is made anew for every attempt and holds the state of one stream. `feed` receives complete events in the
provider's wire and returns complete events in the client's. The relay reads usage and errors off the stream before, so
a converter never sees a provider's error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from inference_app.catalogue.config import Wire
from inference_app.catalogue.limits import Limits


class Converter(Protocol):
    """The conversion of one request. `request` raises BadRequest for what the other wire cannot express."""

    def request(self, body: bytes, limits: Limits, asked: str) -> bytes:
        """Returns the body for the provider, within its limits; `model` is already the provider's own name, and `asked`
        the one that the client used."""

    def answer(self, body: bytes) -> bytes:
        """Converts a complete response; raises ValueError if it is not of the provider's wire."""

    def feed(self, data: bytes) -> bytes:
        """Converts events; the result may be empty. Raises ValueError for garbage."""

    def finish(self) -> bytes:
        """Returns the end of the client's stream, after the provider's stream has ended well."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Returns headers about the conversion (`x-gateway-dropped-tools`, `x-gateway-dropped`); call `request`
        before."""


ConverterFactory = Callable[[], Converter]
Converters = Mapping[Wire, ConverterFactory]
