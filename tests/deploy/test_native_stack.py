"""`make stack` starts the services of docker-compose.yml: the same commands, settings and checks, elsewhere."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.stack import composition
from tests.stack.composition import (
    Drifted,
    PlannedProcess,
    StackLayout,
    image,
    one_shot,
    proxy_configuration,
    replicas,
    services,
)
from tests.stack.stack import Started, environment, is_alive, spawn, start_time, started_processes, stop

ROOT = settings.BASE_DIR
OF_THE_MACHINE = {"GATEWAY_HOST", "GATEWAY_PORT", "GATEWAY_WORKER_PORT", "GATEWAY_PUBLIC_URL", "GATEWAY_ENV_FILE"}


@pytest.fixture
def layout(tmp_path: Path) -> StackLayout:
    (tmp_path / "logs").mkdir()
    return StackLayout(tmp_path, 4310)


def as_in_the_container(word: str, layout: StackLayout) -> str:
    for there, here in {
        "/secrets": layout.secrets,
        "/data": layout.directory / "state",
        "python": sys.executable,
    }.items():
        word = word.replace(str(here), there)
    return word


def test_every_replica_has_the_command_the_settings_and_the_check_of_its_container(layout: StackLayout) -> None:
    entry, of_image = image()
    for planned in replicas(layout):
        service = services({})[planned.name.partition("-")[0]]
        said = [as_in_the_container(word, layout) for word in planned.command]
        assert said == [*entry, *service["command"]]
        assert [as_in_the_container(word, layout) for word in planned.health] == service["healthcheck"]["test"][1:]
        settled = {key: as_in_the_container(value, layout) for key, value in planned.environment.items()}
        everything = of_image | service["environment"]
        assert {k: v for k, v in settled.items() if k not in OF_THE_MACHINE} == {
            k: v for k, v in everything.items() if k not in OF_THE_MACHINE
        }
        assert set(settled) - set(everything) <= OF_THE_MACHINE


def test_there_are_as_many_as_the_composition_has_each_at_a_port_of_its_own(layout: StackLayout) -> None:
    planned = replicas(layout)
    assert [each.name for each in planned] == ["web-1", "web-2", "worker-1", "worker-2"]
    ports = [each.environment.get("GATEWAY_WORKER_PORT") or each.environment["GATEWAY_PORT"] for each in planned]
    assert ports == ["4311", "4312", "4313", "4314"]


def test_what_runs_once_is_the_same_too(layout: StackLayout) -> None:
    for name in ("secrets", "migrate"):
        service = services({})[name]
        said = [as_in_the_container(word, layout) for word in one_shot(name, layout).command]
        assert said == [*service.get("entrypoint", image()[0]), *service["command"]]


def test_what_a_variable_gives_goes_before_the_default_of_the_file() -> None:
    assert services({"GATEWAY_HTTP_PORT": "8088"})["nginx"]["ports"][0] == "8088:8080"
    assert services({})["nginx"]["ports"][0] == "4000:8080"


def test_nginx_has_the_same_configuration_at_other_addresses(layout: StackLayout) -> None:
    ours = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8").splitlines()
    native = proxy_configuration(layout, [4311, 4312]).splitlines()
    changed = [line.strip() for line in native if line not in ours and not line.startswith("user ")]
    moved = [line for line in changed if "nginx/" in line or "logs/" in line or "/tls/" in line]
    assert [line for line in changed if line not in moved] == [
        "server 127.0.0.1:4311 max_fails=2 fail_timeout=3s;",
        "server 127.0.0.1:4312 max_fails=2 fail_timeout=3s;",
        "listen 127.0.0.1:4310;",
    ]
    assert all(str(layout.directory) in line for line in moved)


def test_a_configuration_that_says_something_else_is_refused(
    layout: StackLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "nginx.conf").write_text("http {}")
    monkeypatch.setattr(composition, "ROOT", tmp_path)
    with pytest.raises(Drifted):
        proxy_configuration(layout, [4311])


def test_a_process_gets_nothing_of_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the-callers")
    monkeypatch.setenv("GATEWAY_API_KEYS", "the-callers")
    assert set(environment({"GATEWAY_PORT": "1"})) <= {
        "PATH",
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "GATEWAY_PORT",
    }


def sleeper() -> PlannedProcess:
    return PlannedProcess("sleeper", [sys.executable, "-c", "import signal; signal.pause()"], {})


def test_a_stop_ends_what_was_started_and_nothing_that_has_its_id_by_chance(
    layout: StackLayout, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(sleeper().command) as bystander:
        mine = spawn(sleeper(), layout)
        listed = json.loads((layout.directory / "processes.json").read_text())
        listed.append({"name": "long gone", "pid": bystander.pid, "began": "1"})
        (layout.directory / "processes.json").write_text(json.dumps(listed))
        assert is_alive(mine)
        stop(layout)
        assert not is_alive(mine)
        assert bystander.poll() is None
        bystander.send_signal(signal.SIGKILL)
    assert started_processes(layout) == []
    assert re.match("1 processes ended", capsys.readouterr().out)


def test_a_process_that_is_gone_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        then = start_time(process.pid)
    assert not is_alive(Started("gone", process.pid, then))
