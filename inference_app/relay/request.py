"""A request to relay, as a face hands it over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inference_app.relay.converter import Converters
from inference_app.relay.dialect import Dialect
from inference_app.relay.envelope import Envelope
from inference_app.request_kinds import RequestKind
from tenants_app.principal import Principal


@dataclass(slots=True, kw_only=True)
class ProviderRequest:
    """One request, whoever makes it. A provider of its wire receives `forwarded_headers`, which are the client's."""

    kind: RequestKind
    envelope: Envelope
    request_id: str
    dialect: Dialect
    forwarded_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def streamed(self) -> bool:
        """True if the client asked for a stream."""
        return self.envelope.streamed


@dataclass(slots=True, kw_only=True)
class UpstreamRequest(ProviderRequest):
    """A request of a client. `converters` serve targets that do not take the request's own wire."""

    principal: Principal
    converters: Converters = field(default_factory=dict)
