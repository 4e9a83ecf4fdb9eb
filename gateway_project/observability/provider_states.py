"""The states of providers as metrics: circuits, budgets and the operator's accounts.

They are read on the loop when `/metrics` is requested, and rendered in a thread afterwards. Labels are bounded as those
of all metrics about providers (`inference_app.providers.instruments`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core_app.lifecycle import process_wide
from core_app.metrics import REGISTRY
from inference_app.catalogue.config import models_config
from inference_app.catalogue.reported import REPORTED
from inference_app.catalogue.resolution import provider_of
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.instruments import INSTRUMENTS
from inference_app.providers.quota import QUOTAS
from inference_app.spend.budgets import BUDGETS

_STATES = {"CLOSED": 0, "HALF_OPEN": 1, "OPEN": 2}
EVERY = "all"
"""The label of a budget for all providers or models."""


class ProviderStates(Collector):
    """The states as of the last `refresh`."""

    def __init__(self) -> None:
        self.circuits: Mapping[tuple[str, str], int] = {}
        self.budgets: Mapping[tuple[str, str, str], float] = {}
        self.accounts: Mapping[str, bool] = {}
        self.balances: Mapping[str, float] = {}

    def describe(self) -> Iterable[Metric]:
        """Returns the metrics without samples."""
        return (_circuits(), _budgets(), _accounts(), _balances())

    def collect(self) -> Iterable[Metric]:
        """Returns the states of the last refresh."""
        circuits, budgets, accounts, balances = _circuits(), _budgets(), _accounts(), _balances()
        for labels, state in self.circuits.items():
            circuits.add_metric(labels, state)
        for key, share in self.budgets.items():
            budgets.add_metric(key, share)
        for name, available in self.accounts.items():
            accounts.add_metric([name], available)
        for name, balance in self.balances.items():
            balances.add_metric([name], balance)
        return circuits, budgets, accounts, balances

    def refresh(self) -> None:
        """Reads the states; on the loop, where they change."""
        config = models_config()
        usable = [found for found in REPORTED.list_configured(config) if config.providers[found.provider].usable]
        circuits = {INSTRUMENTS.labels(candidate): 0 for candidate in usable}
        for candidate in CIRCUITS:
            labels = INSTRUMENTS.labels(candidate)
            circuits[labels] = max(circuits.get(labels, 0), _STATES[CIRCUITS.state(candidate)])
        self.circuits = circuits
        budgets: dict[tuple[str, str, str], float] = {}
        for (model, period), share in BUDGETS.shares_left().items():
            key = (*_budget_labels(model), period)
            budgets[key] = min(budgets.get(key, 1.0), share)
        self.budgets = budgets
        known = QUOTAS.known
        self.accounts = {quota.provider: quota.available for quota in known}
        self.balances = {quota.provider: quota.balance for quota in known if quota.balance is not None}


def _budget_labels(model: str) -> tuple[str, str]:
    """Returns the labels of a budget, which may be for `provider:model`, for a model at any provider, or for all."""
    candidate = provider_of(models_config(), model)
    if candidate is not None:
        return candidate.provider, candidate.model
    return EVERY, model or EVERY


def _circuits() -> GaugeMetricFamily:
    sentence = "Circuit of a provider's model: 0 closed, 1 half-open, 2 open."
    return GaugeMetricFamily("gateway_provider_circuit", sentence, labels=["provider", "model"])


def _budgets() -> GaugeMetricFamily:
    sentence = (
        "Share that is left of the narrowest budget in use of any tenant; provider and model are those it is for."
    )
    return GaugeMetricFamily("gateway_budget_left_ratio", sentence, labels=["provider", "model", "period"])


def _accounts() -> GaugeMetricFamily:
    sentence = "1 if something is left on the operator's account at a provider that reports it."
    return GaugeMetricFamily("gateway_provider_account_available", sentence, labels=["provider"])


def _balances() -> GaugeMetricFamily:
    sentence = "Balance of the operator's account at a provider, in the account's currency."
    return GaugeMetricFamily("gateway_provider_account_balance", sentence, labels=["provider"])


PROVIDER_STATES = process_wide(ProviderStates())
"""Process-wide instance, a collector of REGISTRY."""

REGISTRY.register(PROVIDER_STATES)
