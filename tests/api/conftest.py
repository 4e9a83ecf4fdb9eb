"""The gateway, and clients that validate every response against the OpenAPI document."""

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
def checking_client(gateway: GatewayHarness, owner: Caller, contract: Contract) -> CheckingClient:
    """A client with every scope."""
    return make_checking_client(owner, contract)


def make_checking_client(who: Caller | None, contract: Contract) -> CheckingClient:
    """Returns a client with that caller's key; None is a client without one."""
    client = CheckingClient(who)
    client.contract = contract
    return client
