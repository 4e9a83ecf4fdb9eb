"""A request to relay, as a face hands it over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inference_app.relay.converter import Converters
from inference_app.relay.dialect import Dialect
from inference_app.relay.envelope import Envelope
from inference_app.request_kinds import Kind
from tenants_app.principal import Principal

AT_ONCE_BYTES = 64 * 1024
"""Larger bodies are converted in a thread: a megabyte takes tens of milliseconds, in which no other stream moves."""


@dataclass(slots=True)
class UpstreamRequest:
    """One request. `converters` serve targets that do not take the request's own wire; `passed_on` are the client's
    headers that a provider of the same wire receives."""

    kind: Kind
    envelope: Envelope
    principal: Principal
    request_id: str
    dialect: Dialect
    converters: Converters = field(default_factory=dict)
    passed_on: Mapping[str, str] = field(default_factory=dict)

    @property
    def streamed(self) -> bool:
        """True if the client asked for a stream."""
        return self.envelope.streamed
