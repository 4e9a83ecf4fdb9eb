"""The search of a space by full text, best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faces.mesh.models import Artifact, Space, SpaceMessage
from faces.mesh.search_index import Match, search_matches
from faces.mesh.terms import excerpt, query_terms


def space_search(space: Space, query: str, *, limit: int) -> list[dict[str, Any]]:
    """Returns the messages and artifacts that have all words of the query."""
    wanted = query_terms(query)
    return results_of(search_matches(space.pk, wanted, limit), query) if wanted else []


def results_of(matches: Sequence[Match], query: str) -> list[dict[str, Any]]:
    """Returns matches as clients see them, in their order."""
    messages = SpaceMessage.objects.in_bulk([match.message_id for match in matches if match.message_id])
    artifacts = Artifact.objects.in_bulk([match.artifact_id for match in matches if match.artifact_id])
    results = []
    for match in matches:
        if (message := messages.get(match.message_id or 0)) is not None:
            shown = {"kind": "message", "id": message.public_id, "excerpt": excerpt(message.content, query)}
        elif (artifact := artifacts.get(match.artifact_id or 0)) is not None:
            shown = {"kind": "artifact", "name": artifact.name, "excerpt": excerpt(artifact.text, query)}
        else:
            continue
        results.append({**shown, "score": match.score})
    return results
