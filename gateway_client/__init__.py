"""Python client of Agent Gateway: sessions, prompts that resume by themselves, approvals, tools of the client, tasks.

`AsyncGateway` and `Gateway` speak the native protocol, and that of tasks, spaces and agents. `gateway_client.rpc` and
`gateway_client.rpc_sync` have the client of the RPC socket, `gateway_client.webhooks` verifies webhook messages,
`gateway_client.events` and `gateway_client.errors` have a class for every event and error.
"""

from __future__ import annotations

from gateway_client.background import Stream
from gateway_client.client import AsyncGateway
from gateway_client.errors import APIError, ConnectionFailed, GatewayError, RunAborted, TaskFailed, WaitTimeout
from gateway_client.event_stream import EventStream
from gateway_client.events import Event
from gateway_client.replies import Decision
from gateway_client.sessions import AsyncSession
from gateway_client.sync import Gateway, Session
from gateway_client.tools import Tool, tool
from gateway_client.transport import Timeouts

__all__ = [
    "APIError",
    "AsyncGateway",
    "AsyncSession",
    "ConnectionFailed",
    "Decision",
    "Event",
    "EventStream",
    "Gateway",
    "GatewayError",
    "RunAborted",
    "Session",
    "Stream",
    "TaskFailed",
    "Timeouts",
    "Tool",
    "WaitTimeout",
    "tool",
]
