"""`python -m tests`: runs the whole suite on both deployments, and prints one line with the sums.

Embedded (SQLite, in-memory layer) always runs. Distributed runs where PostgreSQL and Redis answer, at
GATEWAY_TEST_DATABASE_URL and GATEWAY_TEST_REDIS_URL or at their standard local ports; otherwise one line says that it
was skipped, which GATEWAY_REQUIRE_SERVICES=1 turns into a failure. Arguments are pytest's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import redis

DATABASE_URLS = (
    "postgresql://postgres@127.0.0.1:5432/postgres",
    "postgresql://postgres:postgres@127.0.0.1:5432/postgres",
    "postgresql:///postgres",
)
REDIS_URL = "redis://127.0.0.1:6379/0"
ANSWER_SECONDS = 3
PROCESSES = (
    "tests/stack",
    "tests/browser",
    "tests/deploy",
    "tests/client",
    "tests/oidc",
    "tests/project/test_faces_removed.py",
    "tests/api/test_reference.py",
)
"""Tests that kill real processes and wait for them: they run after the others, which use both cores."""

NO_DATABASE = (
    "tests/agents",
    "tests/api/test_reference.py",
    "tests/browser",
    "tests/client/cli",
    "tests/client/test_backoff.py",
    "tests/client/test_cuts.py",
    "tests/client/test_javascript.py",
    "tests/client/test_javascript_cuts.py",
    "tests/client/test_javascript_protocol.py",
    "tests/client/test_package.py",
    "tests/client/test_protocol.py",
    "tests/client/test_readme.py",
    "tests/client/test_webhooks.py",
    "tests/contract",
    "tests/conversion",
    "tests/core/http1",
    "tests/core/test_content_codings.py",
    "tests/core/test_json_size.py",
    "tests/edge/rpc",
    "tests/edge/sockets",
    "tests/edge/test_adding_a_face.py",
    "tests/inference",
    "tests/oidc",
    "tests/project/test_benchmarks_start.py",
    "tests/project/test_dependencies.py",
    "tests/project/test_faces_removed.py",
    "tests/project/test_gateway_yaml_documented.py",
    "tests/project/test_house.py",
    "tests/project/test_language.py",
    "tests/project/test_layers.py",
    "tests/project/test_lean_imports.py",
    "tests/project/test_loop_watch.py",
    "tests/project/test_tally.py",
    "tests/faces/responses",
    "tests/stack/test_pages_played.py",
    "tests/stack/test_ten_requests.py",
)
"""Tests for which the deployment makes no difference; they run once."""

PARALLEL = ("-n", "3", "--dist", "loadfile")
"""Three processes, each with a database of its own; the tests of a file stay together. One more than this machine has
cores, because tests wait for programs, time-outs and databases for a third of their time."""

PARALLEL_PROCESSES = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
"""One process more, because these tests wait for a third of their time; in the order of collection, which begins with
the longest: xdist's own order puts files of few tests last, and the longest have few."""

WITHOUT = ("-p", "no:schemathesis")
"""A plugin that is slow to import, and that only tests/api needs."""

NO_TESTS_COLLECTED = 5

MEMORY = Path("/dev/shm")
"""The directory of Linux's file system in memory."""

SCRATCH_BYTES = 512 * 1024**2
"""The free space that it must have: an embedded run left 40 MB there."""


@dataclass(frozen=True)
class Tally:
    """The counts of one or more runs; an error in a fixture or a crashed run counts as a failure."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def main(arguments: list[str]) -> int:
    total = deployment_run("embedded", {}, arguments)
    services, missing = services_find(os.environ)
    if services:
        total += deployment_run("distributed", services, arguments)
    elif os.environ.get("GATEWAY_REQUIRE_SERVICES") == "1":
        print(f"distributed: failed, GATEWAY_REQUIRE_SERVICES=1 and {missing}")
        total += Tally(failed=1)
    else:
        print(f"distributed: skipped, {missing}")
    print(total, flush=True)
    return 1 if total.failed else 0


def deployment_run(deployment: str, services: dict[str, str], arguments: list[str]) -> Tally:
    """Runs pytest on one deployment and counts its results: the tests named by `arguments`, else all."""
    print(f"--- {deployment} ---", flush=True)
    environment = {**os.environ, **services, "GATEWAY_TEST_DEPLOYMENT": deployment}
    # Hundreds of processes of the gateway start here, and each would compile all of it: half a second of processor.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if arguments:
        return pytest_run(environment, arguments)
    left_out = NO_DATABASE if deployment == "distributed" else ()
    in_process = tuple(f"--ignore={folder}" for folder in (*PROCESSES, *left_out))
    processes = tuple(folder for folder in PROCESSES if folder not in left_out)
    with scratch() as directory:
        tally = pytest_run({**environment, "TMPDIR": directory}, (*PARALLEL, *in_process))
    ignored = tuple(f"--ignore={folder}" for folder in left_out)
    return tally + pytest_run(environment, (*PARALLEL_PROCESSES, *WITHOUT, *ignored, *processes))


@contextmanager
def scratch() -> Iterator[str]:
    """Creates a directory for the files of one test process, mainly SQLite's database: in memory if there is enough,
    since tests need not survive a power cut. Tests that kill processes use real files."""
    where: Path | None = MEMORY
    try:
        free = shutil.disk_usage(MEMORY).free
        if free < SCRATCH_BYTES or not os.access(MEMORY, os.W_OK):
            where = None
    except OSError:
        where = None
    with tempfile.TemporaryDirectory(prefix="gateway-tests-", dir=where, ignore_cleanup_errors=True) as directory:
        print(f"temporary files: {directory}{'' if where else f', for want of room in {MEMORY}'}", flush=True)
        yield directory


def pytest_run(environment: dict[str, str], arguments: Iterable[str]) -> Tally:
    """Runs pytest in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="gateway-tally-") as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junit-xml={report}", *arguments]
        code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
        tally = tally_read(report) if report.exists() else Tally()
    if code not in (0, NO_TESTS_COLLECTED) and not tally.failed:
        tally += Tally(failed=1)
    return tally


def tally_read(report: Path) -> Tally:
    """Reads the counts of a JUnit report of pytest."""
    total = Tally()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        total += Tally(max(0, int(suite.get("tests", 0)) - failed - skipped), failed, skipped)
    return total


def services_find(environment: os._Environ[str] | dict[str, str]) -> tuple[dict[str, str], str]:
    """Returns the variables that name both services, or none and the end of a sentence that says which does not
    answer."""
    given = environment.get("GATEWAY_TEST_DATABASE_URL")
    database_url = first_answering([given] if given else DATABASE_URLS)
    redis_url = environment.get("GATEWAY_TEST_REDIS_URL") or REDIS_URL
    if not database_url:
        return {}, "no PostgreSQL that may create databases answers (GATEWAY_TEST_DATABASE_URL)"
    if not redis_answers(redis_url):
        return {}, "no Redis answers (GATEWAY_TEST_REDIS_URL)"
    return {"GATEWAY_TEST_DATABASE_URL": database_url, "GATEWAY_TEST_REDIS_URL": redis_url}, ""


def first_answering(urls: Iterable[str]) -> str | None:
    return next((url for url in urls if database_answers(url)), None)


def database_answers(url: str) -> bool:
    """Returns True when a connection works and its role may create the test database."""
    query = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    try:
        with psycopg.connect(url, connect_timeout=ANSWER_SECONDS) as connection:
            row = connection.execute(query).fetchone()
    except psycopg.Error:
        return False
    return bool(row and row[0])


def redis_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
