"""The gateway, and clients whose every answer is held against the document."""

from __future__ import annotations

import pytest

from tests.api.contract import CheckingClient, Contract
from tests.conftest import Caller
from tests.gateway_harness import GatewayHarness, api, gateway

__all__ = ["api", "gateway"]


@pytest.fixture
def contract() -> Contract:
    return Contract()


@pytest.fixture
def checked(gateway: GatewayHarness, owner: Caller, contract: Contract) -> CheckingClient:
    """A client with every scope."""
    return checking(owner, contract)


def checking(who: Caller | None, contract: Contract) -> CheckingClient:
    """A client with that caller's key."""
    client = CheckingClient(who)
    client.contract = contract
    return client
