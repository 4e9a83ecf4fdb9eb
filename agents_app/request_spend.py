"""The spend of one model request of a run, from its reservation to the ledger.

A request is recorded once, whatever its end: with its response in the checkpoint; by itself if the response is complete
and the checkpoint was refused; estimated from its length if it was aborted, broke off or timed out. One that was not
sent, or that the provider refused, costs nothing. Relayed calls go by the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

from pydantic_ai.exceptions import UnexpectedModelBehavior, UserError
from pydantic_ai.messages import ModelMessage

from agents_app.context_window import CHARACTERS_PER_TOKEN, estimated_tokens
from agents_app.engine import Leg, OpenRequest, Usage
from agents_app.failures import ProviderCoolingDown
from agents_app.ready_model import ServedModel
from core_app.errors import GatewayError
from inference_app.relay.attempt import AttemptFailed
from inference_app.spend.budgets import Reservation
from inference_app.spend.usage import Usage as Tokens


class RequestSpending:
    """One request, as a context manager. `characters` counts the response so far."""

    def __init__(
        self, leg: Leg, served: ServedModel, messages: Sequence[ModelMessage], reservation: Reservation | None
    ) -> None:
        self._leg = leg
        self._served = served
        self._messages = messages
        self._reservation = reservation
        self._open: OpenRequest | None = None
        self._usage: Usage | None = None
        self._committed = False
        self.characters = 0

    def __enter__(self) -> RequestSpending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open is None:
            self._release()
        elif self._committed:
            self._open.end()
            self._settle_committed()
        elif self._usage is not None:
            self._open.end(self._usage, self._reservation)
        elif not self.characters and _is_free(error):
            self._open.end()
            self._release()
        else:
            self._open.end(self._estimate(), self._reservation)
        # The request has `_estimate`: the two would keep each other, and with them the leg's whole history.
        self._open = None

    def begin(self) -> None:
        """Notes that the request is sent now, or once more."""
        self._open = self._leg.begin_request(self._estimate)

    def end_attempt(self, *, may_have_cost: bool) -> None:
        """Notes that the request has failed and may be sent once more. What it may have cost is recorded by itself; the
        reservation is of the request, however often it is sent."""
        if self._open is not None:
            self._open.end(self._estimate() if may_have_cost else None)
            self._open = None

    def note_usage(self, usage: Usage) -> Usage:
        """Notes the usage of the complete response, and returns it with the number of the request."""
        self._usage = usage if self._open is None else replace(usage, request=self._open.number)
        return self._usage

    def note_committed(self) -> None:
        """Notes that the ledger has the usage."""
        self._committed = True

    def _estimate(self) -> Usage:
        given = estimated_tokens(self._messages) or 1
        produced = -(-self.characters // CHARACTERS_PER_TOKEN)
        return Usage(
            model=self._served.name,
            input_tokens=given,
            output_tokens=produced,
            cost_usd=self._served.cost_of(Tokens(given, produced)),
            request=None if self._open is None else self._open.number,
            estimated=True,
        )

    def _settle_committed(self) -> None:
        if self._reservation is not None and self._usage is not None:
            usage = self._usage
            self._reservation.settle(Tokens(usage.input_tokens, usage.output_tokens), usage.cost_usd)
            self._reservation.confirm(usage.cost_usd)

    def _release(self) -> None:
        if self._reservation is not None:
            self._reservation.release()


def _is_free(error: BaseException | None) -> bool:
    """True if the provider did not work on the request: it never had it, or refused it."""
    if isinstance(error, AttemptFailed):
        return not error.fault.may_have_cost
    return isinstance(error, GatewayError | UnexpectedModelBehavior | UserError | ProviderCoolingDown)
