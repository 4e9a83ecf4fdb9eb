"""GET /spaces/:id/search?mode=semantic: by meaning, where `spaces.embedding_model` of the configuration names a model.

It waits for a provider, so it runs on the loop in front of Django, which serves all other searches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from core_app import database
from core_app.config_file import Section
from core_app.errors import BadRequest, Unprocessable
from core_app.lifecycle import process_wide
from core_app.shares import Claim
from edge_app.http.asgi import Application, Receive, Scope, Send
from edge_app.http.errors import face_error_body
from edge_app.http.query import Query, query_of, whole_number
from edge_app.http.response import send_error, send_json
from edge_app.rest.errors import as_gateway_error
from edge_app.rest.paging import MAX_LIMIT
from faces.mesh.embeddings import embed, embeddings_store, entries_missing, nearest_matches
from faces.mesh.search import results_of
from faces.mesh.spaces import space_get
from tenants_app.principal import TASKS, Principal

SEMANTIC = "semantic"
MAX_QUERY = 1000
DEFAULT_LIMIT = 20


class SpacesEntry(BaseModel):
    """The section `spaces`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedding_model: str | None = Field(default=None, min_length=1)


_ENTRY: TypeAdapter[SpacesEntry] = TypeAdapter(SpacesEntry)


def _parse(section: Any) -> SpacesEntry:
    return _ENTRY.validate_python(section or {})


SPACES: Section[SpacesEntry] = process_wide(Section("spaces", _parse, SpacesEntry), reset=Section.forget)


class SemanticSearch:
    """The application around Django for the path of searches."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = query_of(scope)
        if scope["method"] != "GET" or query.get("mode") != SEMANTIC:
            await self._application(scope, receive, send)
            return
        # Django's thread is free for other requests while this one waits for the provider.
        scope["gateway.release"]()
        try:
            body = await _search(scope["gateway.principal"], scope["url_route"]["kwargs"]["space_id"], query)
        except Exception as error:  # the boundary of this wire: every failure becomes an error response
            refused = as_gateway_error(error)
            await send_error(send, refused, face_error_body(scope, refused))
            return
        await send_json(send, 200, body)


async def _search(principal: Principal, space_id: str, query: Query) -> Mapping[str, Any]:
    principal.require(TASKS)
    text = query_check(query.get("q", ""))
    limit = min(max(1, whole_number(query.get("limit") or str(DEFAULT_LIMIT), "limit")), MAX_LIMIT)
    model = SPACES.get().embedding_model
    claim = Claim(principal.tenant_id)
    space = await database.run_action(claim, space_get, principal, space_id)
    if model is None:
        raise Unprocessable("Searching by meaning needs 'spaces.embedding_model' in the configuration.", field="mode")
    missing = await database.run_action(claim, entries_missing, space.pk, model)
    wanted, *vectors = await embed(principal, model, [text, *(content for _, content in missing)])
    stored = [(pk, vector) for (pk, _), vector in zip(missing, vectors, strict=True)]
    if stored:
        await database.run_action(claim, embeddings_store, model, stored)
    matches = await database.run_background(nearest_matches, space.pk, model, wanted, limit)
    return {"results": await database.run_action(claim, results_of, matches, text)}


def query_check(text: str) -> str:
    """Returns what to search for. Raises BadRequest."""
    stripped = text.strip()
    if not stripped or len(stripped) > MAX_QUERY:
        raise BadRequest(f"'q' has 1 to {MAX_QUERY} characters.", field="q")
    return stripped
