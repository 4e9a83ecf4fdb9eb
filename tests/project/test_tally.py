"""The last line of `make test`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests import __main__ as runner
from tests.__main__ import Tally, services_find, tally_read

REPORT = """<testsuites><testsuite errors="1" failures="2" skipped="3" tests="10"/></testsuites>"""


def test_errors_count_as_failures(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT, encoding="utf-8")
    assert str(tally_read(report) + Tally(passed=1)) == "5 passed, 3 failed, 3 skipped"


def test_a_run_that_crashed_without_a_report_is_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    assert runner.deployment_run("embedded", {}, ["--no-such-option"]) == Tally(failed=1)


def test_services_that_do_not_answer_are_named() -> None:
    given = {"GATEWAY_TEST_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    services, missing = services_find(given)
    assert services == {}
    assert "GATEWAY_TEST_DATABASE_URL" in missing


def test_a_run_keeps_the_bytecode_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def run(environment: dict[str, str], arguments: Iterable[str]) -> Tally:
        given.append(environment)
        return Tally()

    monkeypatch.setattr(runner, "pytest_run", run)
    runner.deployment_run("embedded", {}, [])
    assert [environment.get("PYTHONDONTWRITEBYTECODE") for environment in given] == [None, None]
    assert given[0]["TMPDIR"] != given[1].get("TMPDIR"), "only what runs in the tests' own process may run in memory"


@pytest.mark.parametrize("room", ["enough", "little", "none"])
def test_temporary_files_are_in_memory_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, room: str
) -> None:
    memory = tmp_path / ("memory" if room != "none" else "missing")
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(runner, "MEMORY", memory)
    monkeypatch.setattr(runner, "SCRATCH_BYTES", 2**62 if room == "little" else 0)
    with runner.scratch() as directory:
        assert Path(directory).is_dir()
        assert (Path(directory).parent == memory) == (room == "enough")
    assert not Path(directory).exists()
    assert ("for want of room" in capsys.readouterr().out) == (room != "enough")


@pytest.mark.parametrize(("required", "code"), [("0", 0), ("1", 1)])
def test_missing_services_fail_only_where_they_are_required(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], required: str, code: int
) -> None:
    monkeypatch.setattr(runner, "deployment_run", lambda *run: Tally(passed=2))
    monkeypatch.setattr(runner, "services_find", lambda environment: ({}, "no Redis answers"))
    monkeypatch.setenv("GATEWAY_REQUIRE_SERVICES", required)
    assert runner.main([]) == code
    assert capsys.readouterr().out.splitlines()[-1] == f"2 passed, {code} failed, 0 skipped"
