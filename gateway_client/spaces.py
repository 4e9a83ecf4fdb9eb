"""Spaces that agents share: their messages, their files, and searches in both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gateway_client.mesh_results import (
    Artifact,
    MeshResult,
    SearchHit,
    SpaceInfo,
    SpaceMessage,
    SpaceMessagePage,
)
from gateway_client.transport import Transport, decode


class _Created(MeshResult, frozen=True):
    space_id: str


class _Artifacts(MeshResult, frozen=True):
    artifacts: list[Artifact]


class _Found(MeshResult, frozen=True):
    results: list[SearchHit]


@dataclass(frozen=True, slots=True)
class AsyncSpaces:
    """The spaces of the key's tenant (scope `tasks`)."""

    transport: Transport

    async def create(self, metadata: Mapping[str, Any] | None = None, *, key: str | None = None) -> str:
        """Creates a space and returns its id."""
        body = {"metadata": dict(metadata or {})}
        return (await self.transport.create("/v1/spaces", body, _Created, key)).space_id

    async def get(self, space_id: str) -> SpaceInfo:
        return await self.transport.get(_path(space_id), SpaceInfo)

    async def add_message(
        self, space_id: str, content: str, *, role: str | None = None, key: str | None = None, **fields: object
    ) -> SpaceMessage:
        """Adds a message; `fields` may have `metadata`."""
        body = {"content": content, **({"role": role} if role else {}), **fields}
        return await self.transport.create(_path(space_id, "messages"), body, SpaceMessage, key)

    async def messages(self, space_id: str, *, limit: int = 100) -> AsyncIterator[SpaceMessage]:
        """Yields the newest `limit` messages, the newest first."""
        cursor: str | None = None
        while limit > 0:
            path = _path(space_id, "messages")
            page = await self.transport.get(path, SpaceMessagePage, cursor=cursor, limit=min(limit, 100))
            for message in reversed(page.messages):
                yield message
            limit -= len(page.messages)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def artifacts(self, space_id: str) -> Sequence[Artifact]:
        return (await self.transport.get(_path(space_id, "artifacts"), _Artifacts)).artifacts

    async def artifact(self, space_id: str, name: str) -> bytes:
        """Returns the bytes of a file."""
        return await self.transport.send("GET", _path(space_id, "artifacts", name))

    async def store_artifact(
        self, space_id: str, name: str, content: bytes, media_type: str = "application/octet-stream"
    ) -> Artifact:
        """Stores a file, in place of the one of that name."""
        path = _path(space_id, "artifacts", name)
        return decode((await self.transport.exchange("PUT", path, (content, media_type))).content, Artifact)

    async def delete_artifact(self, space_id: str, name: str) -> None:
        await self.transport.send("DELETE", _path(space_id, "artifacts", name))

    async def search(
        self, space_id: str, query: str, *, mode: str | None = None, limit: int | None = None
    ) -> Sequence[SearchHit]:
        """Searches messages and files, the best first; `mode="semantic"` searches by meaning."""
        path = _path(space_id, "search")
        return (await self.transport.get(path, _Found, q=query, mode=mode, limit=limit)).results


def _path(space_id: str, *rest: str) -> str:
    return "/v1/spaces/" + "/".join(quote(part, safe="") for part in (space_id, *rest))
