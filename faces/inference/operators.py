"""GET /model-gateway/*: how the providers are, what is left at them and what was relayed. Scope `platform`."""

from __future__ import annotations

from collections.abc import Mapping

from core_app.errors import NotFound
from faces.inference.http import Endpoint, Visit
from inference_app.catalogue.config import models_config
from inference_app.providers.health import health, probed, probed_all
from inference_app.providers.quota import QUOTAS
from inference_app.providers.stats import STATS


async def health_known(visit: Visit) -> None:
    """Without asking anybody."""
    await visit.answer(200, health())


async def health_all(visit: Visit) -> None:
    """Every provider, probed."""
    await visit.answer(200, await probed_all())


def health_one(name: str) -> Endpoint:
    """One provider, probed."""

    async def endpoint(visit: Visit) -> None:
        if name not in models_config().providers:
            raise NotFound("There is no such provider.")
        await visit.answer(200, await probed(name))

    return endpoint


async def quota(visit: Visit) -> None:
    """What the timer last heard."""
    await visit.answer(200, QUOTAS.to_wire())


async def stats(visit: Visit) -> None:
    """Since the start."""
    await visit.answer(200, STATS.to_wire())


OPERATORS_PATHS: Mapping[str, Endpoint] = {
    "/model-gateway/health": health_known,
    "/model-gateway/health/all": health_all,
    "/model-gateway/quota": quota,
    "/model-gateway/stats": stats,
}
