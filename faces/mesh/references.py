"""References of the section `spaces` to models that are not here.

Agents of the section `routing` are left out: tenants may register them at any time.
"""

from __future__ import annotations

from collections.abc import Iterator

from faces.mesh.semantic import SPACES
from inference_app.catalogue.config import models_config
from inference_app.catalogue.references import is_known_model, missing_model


def dangling() -> Iterator[str]:
    """Yields a sentence when the model for searches by meaning is not configured."""
    name, config = SPACES.get().embedding_model, models_config()
    if name and not is_known_model(config, name):
        yield f"spaces.embedding_model is {name!r}, {missing_model(config, name)}"
