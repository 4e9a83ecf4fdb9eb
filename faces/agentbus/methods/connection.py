"""The connection itself: `connect`, `disconnect`, `heartbeat`, and the revocation of session tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from core_app import database
from core_app.shares import Claim
from edge_app.rpc import Method
from faces.agentbus.caller import Caller
from faces.agentbus.clients import CLIENTS
from faces.agentbus.parameters import NoParameters, Parameters, parser
from faces.agentbus.sign_in import ConnectParameters, parse_connect
from tenants_app.principal import ADMIN, Principal
from tenants_app.services.connection_token import connection_token_revoke


class DisconnectParameters(Parameters):
    """The parameters of `disconnect`; without `client_id` the caller's own connection is meant."""

    client_id: str | None = None


class RevokeParameters(Parameters):
    """The parameters of `auth.revoke`: a token of the caller's tenant."""

    session_id: str


async def _connect(caller: Caller, wanted: ConnectParameters) -> Mapping[str, Any]:
    return await caller.connection.connect(wanted)


def _disconnect(caller: Caller, wanted: DisconnectParameters) -> Mapping[str, Any]:
    principal = caller.principal
    if wanted.client_id in (None, caller.connection.client_id):
        caller.connection.disconnect_after_reply()
    else:
        principal.require(ADMIN)
        CLIENTS.disconnect(principal.tenant_id, str(wanted.client_id), f"Disconnected by {principal.actor}.")
    return {"status": "disconnected"}


def _heartbeat(caller: Caller, wanted: NoParameters) -> Mapping[str, Any]:
    return {"status": "ok", "timestamp": time.time()}


async def _revoke(caller: Caller, wanted: RevokeParameters) -> Mapping[str, Any]:
    principal = caller.principal
    await database.run_action(Claim(principal.tenant_id), _revoke_token, principal, wanted.session_id)
    return {"session_id": wanted.session_id, "status": "revoked"}


def _revoke_token(principal: Principal, secret: str) -> None:
    connection_token_revoke(principal=principal, secret=secret)


METHODS: Mapping[str, Method[Caller]] = {
    "connect": Method.on_loop(parse_connect, _connect, shape=ConnectParameters),
    "disconnect": Method.at_once(parser(DisconnectParameters), _disconnect, shape=DisconnectParameters),
    "heartbeat": Method.at_once(parser(NoParameters), _heartbeat, shape=NoParameters),
    "auth.revoke": Method.on_loop(parser(RevokeParameters), _revoke, counted=True, shape=RevokeParameters),
}
