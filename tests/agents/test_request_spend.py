"""The spend of a request, and what is left in memory of a request that has ended."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from pydantic_ai.messages import ModelMessage

from agents_app.engine import Usage
from agents_app.request_spend import RequestSpending


class Messages(list[ModelMessage]):
    """A conversation whose end can be seen."""


class Request:
    """An open request, which keeps the estimate as that of the runner does."""

    number = 1

    def __init__(self, estimate: Callable[[], Usage]) -> None:
        self.estimate = estimate
        self.ended = False

    def end(self, usage: Usage | None = None, reservation: Any = None) -> None:
        self.ended = True


class OneLeg:
    """A leg that begins requests and does not keep them."""

    begin_request = staticmethod(Request)


@pytest.mark.parametrize("committed", [True, False])
def test_a_request_that_has_ended_leaves_its_conversation_to_nobody(committed: bool) -> None:
    messages, leg, served = Messages(), OneLeg(), _Served()
    gone = weakref.ref(messages)
    gc.disable()
    try:
        arguments: tuple[Any, ...] = (leg, served, messages, None)
        with RequestSpending(*arguments) as spending:
            spending.begin()
            if committed:
                spending.note_committed()
        del spending, messages, arguments
        assert gone() is None
    finally:
        gc.enable()


class _Served:
    """A model without a price."""

    name = "demo:echo"

    @staticmethod
    def cost_of(*counts: Any) -> None:
        return None
