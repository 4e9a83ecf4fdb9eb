"""GET /model-gateway/*: state of the providers, their quotas, and statistics of the relay. Scope `platform`."""

from __future__ import annotations

from collections.abc import Mapping

from core_app.errors import NotFound
from edge_app.http.exchange import Endpoint
from faces.inference.http import Exchange
from inference_app.catalogue.config import models_config
from inference_app.providers.health import health_report, probe_provider, probe_providers
from inference_app.providers.quota import QUOTAS
from inference_app.providers.stats import STATS
from inference_app.relay import Dialect


async def send_health(exchange: Exchange) -> None:
    """Sends the known state of the providers, without a probe."""
    await exchange.send_json(200, health_report())


async def send_all_health(exchange: Exchange) -> None:
    """Probes every provider and sends their state."""
    await exchange.send_json(200, await probe_providers())


def probe_endpoint(name: str) -> Endpoint[Dialect]:
    """Returns the endpoint that probes one provider."""

    async def endpoint(exchange: Exchange) -> None:
        if name not in models_config().providers:
            raise NotFound("There is no such provider.")
        await exchange.send_json(200, await probe_provider(name))

    return endpoint


async def send_quota(exchange: Exchange) -> None:
    """Sends the quotas as the timer last read them."""
    await exchange.send_json(200, QUOTAS.to_wire())


async def send_stats(exchange: Exchange) -> None:
    """Sends the statistics since the start."""
    await exchange.send_json(200, STATS.to_wire())


OPERATORS_PATHS: Mapping[str, Endpoint[Dialect]] = {
    "/model-gateway/health": send_health,
    "/model-gateway/health/all": send_all_health,
    "/model-gateway/quota": send_quota,
    "/model-gateway/stats": send_stats,
}
