"""The dashboard and the alert rules query metrics that /metrics has, by labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.conf import settings
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from core_app.metrics import REGISTRY
from gateway_project.observability.metrics import RUN_STATES
from gateway_project.observability.provider_states import PROVIDER_STATES

DASHBOARD: dict[str, Any] = json.loads(
    (settings.BASE_DIR / "deploy" / "grafana" / "agent-gateway.json").read_text(encoding="utf-8")
)
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
OF_PROMETHEUS = {"job", "instance", "le"}
ALERTS: dict[str, Any] = yaml.safe_load(
    (settings.BASE_DIR / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
)
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]


@pytest.fixture(autouse=True)
def every_state_has_a_sample() -> Iterator[None]:
    """Gives samples to the metrics that are read from the parts of the process."""
    RUN_STATES.counts = {"queued": 1}
    PROVIDER_STATES.circuits = {("p", "m"): 0}
    PROVIDER_STATES.budgets = {("all", "all", "day"): 0.5}
    PROVIDER_STATES.accounts, PROVIDER_STATES.balances = {"p": True}, {"p": 1.0}
    yield
    PROVIDER_STATES.circuits, PROVIDER_STATES.budgets = {}, {}
    PROVIDER_STATES.accounts, PROVIDER_STATES.balances = {}, {}


def exposed_series() -> dict[str, set[str]]:
    """Returns every series of /metrics with its labels."""
    families = {family.name: family for family in text_string_to_metric_families(generate_latest(REGISTRY).decode())}
    return {
        f"{name}{suffix}": labels_of(name, family)
        for name, family in families.items()
        for suffix in SUFFIXES.get(family.type, ())
    }


def labels_of(name: str, family: Metric) -> set[str]:
    """Returns the labels from the instrument if there is one: without a measurement it has no series."""
    instrument = REGISTRY._names_to_collectors.get(name)
    declared = set(getattr(instrument, "_labelnames", ()))
    return declared | {label for sample in family.samples for label in sample.labels}


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (found["definition"] for found in DASHBOARD["templating"]["list"] if found["type"] == "query")


def queried_metrics(expression: str) -> dict[str, set[str]]:
    """Returns the metrics in an expression, each with every label that the expression uses."""
    names = re.findall(r"\b((?:gateway|process|python)_\w+)", expression)
    matched = re.findall(r'(\w+)\s*(?:=~|!~|!=|=)"', expression)
    grouped = [label.strip() for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(",")]
    return {name: {*matched, *grouped} - OF_PROMETHEUS for name in names}


def test_every_metric_and_label_that_the_dashboard_asks_for_exists() -> None:
    known = exposed_series()
    wanted = [(name, labels) for expression in expressions() for name, labels in queried_metrics(expression).items()]
    assert len(wanted) > 30
    assert [(name, labels) for name, labels in wanted if not labels <= known.get(name, {"nothing of the name"})] == []
    assert {name for name, _ in wanted} <= set(known)


def test_every_metric_of_the_gateway_is_on_the_dashboard() -> None:
    shown = " ".join(expressions())
    families = text_string_to_metric_families(generate_latest(REGISTRY).decode())
    own = {family.name for family in families if family.name.startswith("gateway_")}
    assert {name for name in own if name.removesuffix("_created") == name and name not in shown} == set()


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_alert_asks_for_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    known = exposed_series() | {"up": set()}
    wanted = queried_metrics(rule["expr"]) or {"up": set()}
    missing = [(name, labels) for name, labels in wanted.items() if not labels <= known.get(name, {"no such metric"})]
    assert (missing, set(wanted) <= set(known)) == ([], True)
    assert rule["labels"]["severity"] in ("warning", "critical")
    told = rule["annotations"]["summary"]
    grouped = {label for labels in wanted.values() for label in labels} | OF_PROMETHEUS
    assert set(re.findall(r"\$labels\.(\w+)", told)) <= grouped
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_alerts_have_names_of_their_own_and_a_bracket_for_each_bracket() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names) > 10
    for rule in RULES:
        for left, right in ("()", "{}", "[]"):
            assert rule["expr"].count(left) == rule["expr"].count(right)
