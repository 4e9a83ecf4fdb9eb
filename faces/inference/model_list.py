"""GET /v1/models and /v1/models/:id: the models that a key may use, in OpenAI's shape or in Anthropic's."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from core_app.errors import BadRequest
from edge_app.http.exchange import Endpoint
from faces.inference.http import Exchange
from inference_app.catalogue.access import is_allowed
from inference_app.catalogue.config import ModelEntry, ModelsConfig, models_config
from inference_app.errors import ModelNotFound
from inference_app.relay import take_token
from inference_app.relay.dialect import ANTHROPIC, Dialect
from inference_app.relay.model_list import ListedModel, models_listed
from inference_app.relay.targets import TARGETS
from tenants_app.authentication import query_parameter
from tenants_app.principal import Principal

EPOCH = 0
EPOCH_ISO = "1970-01-01T00:00:00Z"
"""Placeholders for the creation time, which is unknown but required by the clients' types."""


async def list_models(exchange: Exchange) -> None:
    """Sends the list; Anthropic's comes in pages if its client asks for them."""
    exchange.headers += await take_token(exchange.principal, "models")
    models = list(models_listed(exchange.principal.tenant_id))
    if exchange.dialect is not ANTHROPIC:
        await exchange.send_json(200, {"object": "list", "data": [_openai(*model) for model in models]})
        return
    ids, more = _page([model_id for model_id, _, _ in models], exchange)
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    await exchange.send_json(200, {"data": [_anthropic(model_id) for model_id in ids], "has_more": more, **ends})


def _page(ids: list[str], exchange: Exchange) -> tuple[list[str], bool]:
    """Returns the page that `after_id`, `before_id` and `limit` select, and true if there is more beyond it."""
    after, before, limit = (query_parameter(exchange.scope, name) for name in ("after_id", "before_id", "limit"))
    if limit is not None and not (limit.isascii() and limit.isdigit() and int(limit[:9])):
        raise BadRequest("'limit' must be a number from 1.", field="limit")
    size = len(ids) if limit is None else int(limit[:9])
    if before is not None:
        left = ids[: _index_of(ids, before, "before_id")]
        return left[-size:], len(left) > size
    left = ids if after is None else ids[_index_of(ids, after, "after_id") + 1 :]
    return left[:size], len(left) > size


def _index_of(ids: list[str], cursor: str, field: str) -> int:
    if cursor not in ids:
        raise BadRequest(f"'{field}' must be a model of the list.", field=field)
    return ids.index(cursor)


def get_model(name: str) -> Endpoint[Dialect]:
    """Returns the endpoint of one model: of the list, or of any other name that would be served."""

    async def endpoint(exchange: Exchange) -> None:
        exchange.headers += await take_token(exchange.principal, "models")
        model_id = unquote(name)
        found = next((m for m in models_listed(exchange.principal.tenant_id) if m[0] == model_id), None)
        model = found or _resolve(models_config(), exchange.principal, model_id)
        await exchange.send_json(200, _openai(*model) if exchange.dialect is not ANTHROPIC else _anthropic(model_id))

    return endpoint


def _resolve(config: ModelsConfig, principal: Principal, name: str) -> ListedModel:
    resolution = TARGETS.resolution(config, name, substitution=False)
    for candidate in resolution.candidates:
        if is_allowed(principal.tenant_id, candidate, name):
            return name, candidate.provider, config.providers[candidate.provider].model(candidate.model)
    raise ModelNotFound(name)


def _openai(model_id: str, owner: str, entry: ModelEntry | None) -> dict[str, Any]:
    shape: dict[str, Any] = {"id": model_id, "object": "model", "created": EPOCH, "owned_by": owner}
    if entry is None:
        return shape
    if entry.context_window is not None:
        shape["context_window"] = entry.context_window
    if entry.capabilities is not None:
        shape["capabilities"] = list(entry.capabilities)
    if entry.price is not None:
        shape["pricing"] = entry.price.model_dump(exclude_none=True)
    return shape


def _anthropic(model_id: str) -> dict[str, Any]:
    named = {"type": "model", "id": model_id, "display_name": model_id}
    return {**named, "created_at": EPOCH_ISO, "lifecycle": "active"}
