"""The module `gateway` of the installed package: the names under which older programs import the RPC client."""

from __future__ import annotations

from gateway_client.errors import ConnectionFailed, RPCError, WaitTimeout
from gateway_client.rpc import ClientConfig, GatewayClient
from gateway_client.rpc_sync import SyncGatewayClient

__all__ = ["ClientConfig", "ConnectionFailed", "GatewayClient", "RPCError", "SyncGatewayClient", "WaitTimeout"]
