"""The gateway itself as a client sees it: its health, the models of the key, what providers have left."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway_client.mesh_results import MeshResult


class AgentHealth(MeshResult, frozen=True):
    id: str
    name: str
    status: str


class Health(MeshResult, frozen=True):
    """A gateway that answers. `timestamp` is its clock in milliseconds since 1970, `uptime` is in seconds; `agents`
    is empty without a valid key."""

    status: str
    timestamp: int
    service: str
    version: str
    uptime: float
    agents: list[AgentHealth]


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the key may ask; fields that its provider does not tell are absent."""

    id: str
    owned_by: str
    context_window: int | None = None
    capabilities: list[str] = []
    pricing: dict[str, Any] = {}


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ModelInfo]
