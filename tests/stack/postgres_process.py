"""A PostgreSQL of the test's own, to be restarted; it refuses to run as root, so root lends it another user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.stack.process import free_port

INSTALLED = Path("/usr/lib/postgresql")
USER = "postgres"
SECONDS = 60


class PostgresMissing(Exception):
    """There is no PostgreSQL here that a test could start; the text says why."""


class PostgresProcess:
    """A cluster below `within`, which its user must be able to reach. Raises PostgresMissing."""

    def __init__(self, within: Path) -> None:
        directory = within / "postgres"
        directory.mkdir()
        self.port = free_port()
        self.url = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"
        self._data = directory / "cluster"
        self._log = directory / "postgresql.log"
        self._programs = _programs()
        self._as_user = _as_user(directory)
        self._run("initdb", "--auth=trust", f"--username={USER}", "--no-sync", "--pgdata", str(self._data))

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300"
        self._control("start", "--log", str(self._log), "--options", f"{options} -c fsync=off")

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends every connection, `immediate` is a crash."""
        self._control("stop", "--mode", mode)

    def end(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "--wait", "--silent", "--pgdata", str(self._data), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        subprocess.run(
            command, check=True, timeout=SECONDS, cwd="/", stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )


def _programs() -> Path:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(INSTALLED.glob("*/bin/initdb"))
    if not versions:
        raise PostgresMissing("PostgreSQL's initdb is not installed here, so none can be restarted.")
    return versions[-1].parent


def _as_user(directory: Path) -> Sequence[str]:
    if os.getuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        raise PostgresMissing(f"Root cannot run PostgreSQL, and there is no user {USER}.") from None
    if setpriv is None:
        raise PostgresMissing("Root cannot run PostgreSQL, and setpriv is not installed.")
    os.chown(directory, user.pw_uid, user.pw_gid)
    return (setpriv, f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
