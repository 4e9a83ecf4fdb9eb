"""`AsyncGateway`: the native protocol and tasks, spaces and agents of the AgentMesh protocol, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from gateway_client.agents import AsyncAgents
from gateway_client.event_stream import EventStream
from gateway_client.events import Event
from gateway_client.gateway_state import Health, ModelInfo, ModelList
from gateway_client.replies import Replies
from gateway_client.results import Position, Result, UsageRow
from gateway_client.sessions import AsyncSessions
from gateway_client.spaces import AsyncSpaces
from gateway_client.streams import sse_follow
from gateway_client.tasks import AsyncTasks
from gateway_client.transport import Timeouts, Transport
from gateway_client.webhook_admin import AsyncWebhooks


class _Usage(Result, frozen=True):
    usage: list[UsageRow]


class AsyncGateway:
    """A gateway and a key. Use it with `async with`, or call `aclose`."""

    def __init__(self, base_url: str, api_key: str, *, timeouts: Timeouts | None = None) -> None:
        self._transport = Transport(base_url, api_key, timeouts or Timeouts())
        self.sessions = AsyncSessions(self._transport)
        self.tasks = AsyncTasks(self._transport)
        self.spaces = AsyncSpaces(self._transport)
        self.agents = AsyncAgents(self._transport)
        self.webhooks = AsyncWebhooks(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._transport.aclose()

    def group_events(
        self, group_id: str, since: Position | None = None, *, timeout: float | None = None
    ) -> EventStream:
        """Follows all sessions of a group, after `since` or with new events; `session_id` of an event is its session.
        It has no end of its own."""
        after = None if since is None else str(since)

        def follow() -> AsyncGenerator[Event, None]:
            return sse_follow(self._transport, f"/v1/groups/{quote(group_id, safe='')}/events", {}, after, _never)

        return EventStream(self._transport, group_id, follow, Replies(), timeout)

    async def usage(
        self,
        *,
        start: str | None = None,
        end: str | None = None,
        group_by: str | None = None,
        end_user: str | None = None,
    ) -> Sequence[UsageRow]:
        """Returns the tenant's usage: `start` and `end` are days as ISO text, `group_by` a comma list of `day`, `key`
        and `model`."""
        query = {"from": start, "to": end, "groupBy": group_by, "endUser": end_user}
        return (await self._transport.get("/v1/usage", _Usage, **query)).usage

    async def health(self) -> Health:
        """Asks whether the gateway answers. Its agents are told to a valid key only."""
        return await self._transport.get("/v1/health", Health)

    async def models(self) -> Sequence[ModelInfo]:
        """Returns the models that the key may ask."""
        return (await self._transport.get("/v1/models", ModelList)).data

    async def quota(self) -> dict[str, Any]:
        """Returns what is left at the providers, as far as they tell (scope `platform`)."""
        return await self._transport.get("/model-gateway/quota", dict[str, Any])


def _never(event: Event) -> bool:
    return False
