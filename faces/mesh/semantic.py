"""The search of a space by meaning, where `spaces.embedding_model` of the configuration names a model."""

from __future__ import annotations

from typing import Any

from core_app.errors import Unprocessable
from faces.mesh.models import Space
from tenants_app.principal import Principal


def semantic_search(principal: Principal, space: Space, query: str, *, limit: int) -> list[dict[str, Any]]:
    """Raises Unprocessable without a model."""
    raise Unprocessable("Semantic search needs 'spaces.embedding_model' in the configuration.", field="mode")
