"""docs/operating.md and docs/scaling.md name existing commands, options, files, variables and settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from prometheus_client import generate_latest

import tests.stack.stack
from core_app.metrics import REGISTRY
from gateway_project.observability.metrics import RUN_STATES
from gateway_project.process.connections import KEEP_ALIVE_SECONDS
from tests.stack.composition import services

DOCS = settings.BASE_DIR / "docs"
OPERATING = (DOCS / "operating.md").read_text(encoding="utf-8")
PAGES = OPERATING + (DOCS / "scaling.md").read_text(encoding="utf-8")
STACK_SOURCE = Path(tests.stack.stack.__file__).read_text(encoding="utf-8")
OF_DJANGO = {"createsuperuser", "changepassword", "runserver"}


def commands() -> Iterator[list[str]]:
    """Returns every command `gateway …` of the pages, split as a shell does; names in capitals stand for values."""
    for found in re.findall(
        r"(?:`(?:docker compose exec \w+ )?|^\.venv/bin/| web |bin/)gateway ([a-z]+[^`\n|;]*)", PAGES, re.MULTILINE
    ):
        yield shlex.split(found.partition("   #")[0])


def test_every_documented_command_takes_the_documented_arguments() -> None:
    known = get_commands()
    found = list(commands())
    assert {"serve", "worker", "prepare", "doctor", "retention", "export", "erase", "key"} <= {c[0] for c in found}
    for name, *arguments in found:
        if name in OF_DJANGO:
            assert name in known
            continue
        app = known[name]
        assert isinstance(app, str)
        parser = load_command_class(app, name).create_parser("gateway", name)
        _, unknown = parser.parse_known_args([word for word in arguments if not word.isspace()])
        # A sentence may go on behind a bare command; behind an option it may not.
        assert not [word for word in unknown if word.startswith("-")], (name, arguments)


def test_every_service_of_a_compose_command_is_there() -> None:
    named = re.findall(r"docker compose (?:exec|run)(?: (?:--?[\w-]+(?: sh| tar)?))* ([a-z]+)", OPERATING)
    assert named
    assert set(named) <= set(services({}))


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"\| (STACK_\w+) \|", OPERATING))))
def test_every_variable_of_make_stack_is_read(variable: str) -> None:
    assert f'"{variable}"' in STACK_SOURCE


def test_every_variable_that_is_read_is_documented() -> None:
    assert set(re.findall(r'"(STACK_\w+)"', STACK_SOURCE)) == set(re.findall(r"\| (STACK_\w+) \|", OPERATING))


def test_every_named_file_is_there() -> None:
    named = set(re.findall(r"`((?:deploy|docs)/[\w./-]*\w)`", PAGES))
    made_by_the_operator = {"deploy/gateway.env", "deploy/tls/tls.conf"}
    assert "deploy/nginx.conf" in named
    assert [name for name in sorted(named - made_by_the_operator) if not (settings.BASE_DIR / name).exists()] == []


def test_every_named_setting_exists() -> None:
    named = {name for name in re.findall(r"\b(GATEWAY_\w+)", PAGES) if not name.endswith(("_", "_FILE"))}
    of_compose = set(re.findall(r"\$\{(GATEWAY_\w+):-", (settings.BASE_DIR / "docker-compose.yml").read_text()))
    # Read before the settings are there.
    special = {"GATEWAY_SECRET_KEY"}
    assert [name for name in sorted(named - of_compose - special) if not hasattr(settings, name)] == []


def test_a_proxy_is_told_how_long_the_gateway_keeps_idle_connections() -> None:
    assert f"for less than {KEEP_ALIVE_SECONDS} s, after which the gateway closes them" in OPERATING


def test_the_figures_that_scaling_builds_on_are_those_of_the_benchmarks() -> None:
    scaling, benchmarks = ((DOCS / name).read_text(encoding="utf-8") for name in ("scaling.md", "benchmarks.md"))
    table = scaling.partition("## The figures")[2].partition("Beside them")[0]
    figures = set(re.findall(r"\d{2},\d{3}|\d,\d{3} events|\d+ KiB|\d+\.\d ms", table))
    assert len(figures) >= 6
    assert [figure for figure in sorted(figures) if figure not in benchmarks.replace("**", "")] == []


def test_the_metrics_to_look_at_exist() -> None:
    RUN_STATES.counts = {"queued": 0}
    named = set(re.findall(r"\bgateway_[a-z_]+", PAGES)) - {"gateway_restored"}
    exposed = set(re.findall(r"gateway_[a-z_]+", generate_latest(REGISTRY).decode()))
    assert len(named) > 5
    assert named <= exposed
