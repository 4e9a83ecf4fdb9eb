"""A request for a response on a socket: a frame `response.create`, or what follows from steering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core_app import jsontext
from core_app.errors import BadRequest
from faces.responses.socket.frames import ClientFrame
from faces.responses.socket.steering import Steer
from inference_app.relay import Envelope
from responses_app.items import input_items, join_items
from responses_app.request import StateRequest, input_check, read_state
from tenants_app.principal import Principal

_FRAME_FIELDS = ("type", "stream_id", "generate")
"""Fields of the frame that are none of the request's."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One response that is asked for. `generate` False: only its input is kept. `steers` are what the client has said
    meanwhile, which is in the input already; `no_steering` is why it cannot be steered."""

    envelope: Envelope
    state: StateRequest
    stream_id: str | None
    generate: bool = True
    steers: Sequence[Steer] = ()
    no_steering: str | None = None
    is_successor: bool = False
    """True for a request that the gateway makes of what the user has said."""

    def with_steers(self, steers: Sequence[Steer]) -> Wanted:
        """Returns the request with input of the user in front of its own."""
        own = input_items(self.envelope.fields.get("input"))
        whole = join_items([_text(steers), own])
        return replace(self, envelope=self.envelope.with_changes({"input": whole}), steers=steers)

    def settings(self) -> Envelope:
        """Returns the request without its input, for a successor with the same settings."""
        return self.envelope.with_changes({"input": b"[]"})


def wanted_of(frame: ClientFrame, principal: Principal) -> Wanted:
    """Returns what a frame asks for; raises BadRequest."""
    given = Envelope.open(frame.raw)
    generate = given.value_of("generate")
    if not isinstance(generate, bool | None):
        raise BadRequest("'generate' must be true or false.", field="generate")
    changes: dict[str, bytes | None] = {name: None for name in _FRAME_FIELDS if name in given.fields}
    envelope = given.with_changes({**changes, "stream": b"true"})
    state = read_state(envelope, principal)
    if state.previous_id is None and state.conversation_id is None:
        input_check(envelope)
    if state.background and generate is False:
        raise BadRequest("A response without output has nothing to do in the background.", field="generate")
    return Wanted(envelope, state, frame.stream_id, generate is not False, no_steering=_no_steering(envelope, state))


def successor_of(settings: Envelope, before: Wanted, response_id: str, steers: Sequence[Steer]) -> Wanted:
    """Returns the request that goes on from a response with what the user has said meanwhile."""
    changes = {"input": _text(steers).encode(), "previous_response_id": jsontext.encode(response_id)}
    state = replace(before.state, previous_id=response_id)
    return replace(before, envelope=settings.with_changes(changes), state=state, steers=steers, is_successor=True)


def _no_steering(envelope: Envelope, state: StateRequest) -> str | None:
    if state.conversation_id is not None:
        return "A response in a conversation cannot be steered."
    if envelope.fields.get("context_management") not in (None, b"null"):
        return "A response with 'context_management' cannot be steered."
    return "A response in the background cannot be steered." if state.background else None


def _text(steers: Sequence[Steer]) -> str:
    return jsontext.encode_text([item for steer in steers for item in steer.items])
