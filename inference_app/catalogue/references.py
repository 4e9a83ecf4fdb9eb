"""References of the section `models` to models that no provider has, found before the first caller finds them."""

from __future__ import annotations

from collections.abc import Iterator

from core_app.suggestion import suggestion
from inference_app.catalogue.config import ModelsConfig, models_config
from inference_app.catalogue.resolution import named_candidates


def dangling() -> Iterator[str]:
    """Yields a sentence for each alias and default model that leads to nothing, whether or not providers have keys."""
    config = models_config()
    for alias, targets in config.model_aliases.items():
        for target in targets:
            if not named_candidates(config, target.model):
                yield f"models.model_aliases.{alias} leads to {target.model!r}, {missing_model(config, target.model)}"
    default = config.default_model
    if default and default not in config.model_aliases and not named_candidates(config, default):
        yield f"models.default_model is {default!r}, {missing_model(config, default)}"


def is_known_model(config: ModelsConfig, name: str) -> bool:
    """Returns True for an alias, and for a name that a provider serves, with or without a key."""
    return name in config.model_aliases or bool(named_candidates(config, name))


def missing_model(config: ModelsConfig, name: str) -> str:
    """Returns the end of a sentence about a model that no provider has, with what to do."""
    if name in config.model_aliases:
        return "which is an alias itself: an alias leads to a model."
    known = [entry.id for provider in config.providers.values() for entry in provider.models]
    near = suggestion(name, [*known, *config.model_aliases])
    return f"which no provider has: write provider:model, or list it under models.providers.NAME.models.{near}"
