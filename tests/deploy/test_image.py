"""The image: its files, its user, and that a gateway runs from these files. The image itself is not built."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from django.conf import settings

from tests.stack.process import free_port

ROOT = settings.BASE_DIR
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Returns every instruction with its arguments, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [(word, rest) for line in joined.splitlines() if line for word, _, rest in [line.partition(" ")]]


def last_argument(instruction: str) -> str:
    return [rest for word, rest in instructions() if word == instruction][-1]


def context() -> list[PurePosixPath]:
    """Returns the files that .dockerignore admits: the last rule that matches a path or a parent decides."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in map(PurePosixPath, tracked) if let_through(path, rules) and (ROOT / path).exists()]


def let_through(path: PurePosixPath, rules: list[str]) -> bool:
    taken = True
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        names = path.parts if rule.startswith("**/") else [str(each) for each in [path, *path.parents]]
        if any(fnmatch.fnmatchcase(name, pattern) and ("/" in pattern or "/" not in name) for name in names):
            taken = rule.startswith("!")
    return taken


@pytest.fixture
def image_files(tmp_path: Path) -> Path:
    """The files that `COPY . .` puts into the image."""
    for path in context():
        (tmp_path / "app" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / "app" / path)
    return tmp_path / "app"


def test_nothing_gets_in_but_the_gateway() -> None:
    tops = {path.parts[0] for path in context()}
    rooms = {top for top in tops if top.endswith("_app")}
    assert {"core_app", "tenants_app", "events_app", "sessions_app"} <= rooms
    files = {"manage.py", "requirements-otel.lock"}
    assert tops - rooms == files | {"clients", "config", "faces", "gateway_project", "deploy"}
    assert {path.parts[:3] for path in context() if path.parts[0] == "clients"} == {("clients", "typescript", "src")}
    assert not let_through(PurePosixPath(".env"), [".env"])
    assert {str(path) for path in context() if path.parts[0] == "deploy"} == {
        "deploy/healthcheck.py",
        "deploy/secret_files.py",
    }


def test_it_runs_as_a_user_without_rights_who_owns_the_volume() -> None:
    assert last_argument("USER") == "10001:10001"
    assert last_argument("VOLUME") == "/data"
    assert "TMPDIR=/data" in last_argument("ENV").split()
    assert "install -d -m 0700 -o gateway -g gateway /data" in last_argument("RUN")


def test_packages_are_installed_by_their_hashes() -> None:
    assert any("pip install" in rest and "--require-hashes" in rest for word, rest in instructions() if word == "RUN")


def test_both_stages_begin_with_the_same_base_and_name_no_registry() -> None:
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim", bases[0])


def test_it_is_told_to_end_by_the_signal_that_drains() -> None:
    assert (last_argument("STOPSIGNAL"), last_argument("EXPOSE")) == ("SIGTERM", "4000")


def test_what_goes_in_is_enough_to_serve_and_to_be_found_well(image_files: Path, tmp_path: Path) -> None:
    port = str(free_port())
    environment = {
        "PATH": os.environ["PATH"],
        "GATEWAY_DATA_DIR": str(tmp_path / "data"),
        "GATEWAY_API_KEYS": "my-key",
        "GATEWAY_PORT": port,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, *json.loads(last_argument("ENTRYPOINT"))[1:], *json.loads(last_argument("CMD"))]
    health = [sys.executable, *json.loads(last_argument("HEALTHCHECK").partition("CMD ")[2])[1:]]
    before = sorted(image_files.rglob("*"))
    with subprocess.Popen(command, cwd=image_files, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert any("answers on" in line for line in process.stdout)
            assert subprocess.run(health, cwd=image_files, env=environment, check=False).returncode == 0
        finally:
            process.terminate()
            process.communicate()
    assert process.returncode == 0
    assert subprocess.run(health, cwd=image_files, env=environment, capture_output=True, check=False).returncode == 1
    assert sorted(image_files.rglob("*")) == before
