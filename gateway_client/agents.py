"""The directory of agents that tasks and sessions may go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gateway_client.mesh_results import AgentInfo
from gateway_client.transport import Transport, decode


@dataclass(frozen=True, slots=True)
class AsyncAgents:
    """The agents that the key's tenant may use (scopes `agents:read`, `agents:write`)."""

    transport: Transport

    async def list(self) -> Sequence[AgentInfo]:
        return await self.transport.get("/v1/agents", list[AgentInfo])

    async def get(self, agent_id: str) -> AgentInfo:
        return await self.transport.get(_path(agent_id), AgentInfo)

    async def register(self, agent_id: str, type: str, **fields: object) -> None:
        """Registers an agent. `fields` are those of the protocol: `name`, `capabilities`, `endpoint`, `model`,
        `system_prompt`, `tools`, `timeout`."""
        body = {"id": agent_id, "type": type, **fields}
        await self.transport.send("POST", "/v1/agents", body, repeat=False)

    async def change(self, agent_id: str, **fields: object) -> AgentInfo:
        return decode(await self.transport.send("PATCH", _path(agent_id), fields), AgentInfo)

    async def remove(self, agent_id: str) -> None:
        await self.transport.send("DELETE", _path(agent_id))

    async def heartbeat(self, agent_id: str, status: str = "online") -> None:
        """Says that an agent is alive: `online`, `busy` or `offline`."""
        await self.transport.send("POST", _path(agent_id, "heartbeat"), {"status": status})


def _path(agent_id: str, *rest: str) -> str:
    return "/v1/agents/" + "/".join(quote(part, safe="") for part in (agent_id, *rest))
