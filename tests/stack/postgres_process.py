"""A PostgreSQL of the test's own, which it may restart. Root runs it as another user, because it refuses root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from tests.stack.process import free_port

INSTALLED = Path("/usr/lib/postgresql")
USER = "postgres"
SECONDS = 60
STOP_SECONDS = 120
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresMissing(Exception):
    """No PostgreSQL can be started here; the text says why."""


class PostgresProcess:
    """A cluster below `within`, which its user must be able to reach; with a `primary` its asynchronous standby, or its
    base backup with `follows=False`. Raises PostgresMissing.

    It is a child of this process and not of pg_ctl, so that its end is known by its exit code.
    """

    def __init__(
        self,
        within: Path,
        *,
        primary: PostgresProcess | None = None,
        follows: bool = True,
        settings: Mapping[str, str] = {},
    ) -> None:
        directory = within / "postgres"
        directory.mkdir()
        self.directory = directory
        self.settings = settings
        self.port = free_port()
        self.url = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"
        self._data = directory / "cluster"
        self._log = directory / "postgresql.log"
        self._programs = _programs()
        self._as_user = _as_user(directory)
        self._process: subprocess.Popen[bytes] | None = None
        made: tuple[str, ...] = (
            "initdb",
            "--auth=trust",
            f"--username={USER}",
            "--no-sync",
            "--pgdata",
            str(self._data),
        )
        if primary is not None:
            self.settings = primary.settings
            options = ("--checkpoint=fast", "--no-sync", "--pgdata", str(self._data))
            recovery = ("--write-recovery-conf",) if follows else ()
            made = ("pg_basebackup", f"--dbname={primary.url}", *recovery, *options)
        self._follows = primary is not None and follows
        subprocess.run(self._command(*made), check=True, timeout=SECONDS, cwd="/", stdout=subprocess.DEVNULL)

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it and waits until it accepts connections; fails with its log when it ends instead."""
        self._spawn()
        until = time.monotonic() + SECONDS
        while not self._answers():
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)

    def has_received_all(self, primary: PostgresProcess) -> bool:
        """Returns True when this standby has replayed everything that its primary has committed so far."""
        with psycopg.connect(primary.url) as one, psycopg.connect(self.url) as other:
            (here,) = one.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or (None,)
            (there,) = other.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [here]).fetchone() or (False,)
        return bool(there)

    def take_over(self, primary: PostgresProcess) -> None:
        """Makes a standby or a backup the server at the address of its primary. Neither of both may run."""
        self.port, self.url = primary.port, primary.url
        self.start()
        if not self._follows:
            return
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def create_database(self, name: str) -> str:
        """Creates an empty database; returns its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"{self.url.rpartition('/')[0]}/{name}"

    def drop_database(self, name: str) -> None:
        """Removes a database and ends its connections."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self, mode: str = "fast") -> None:
        """Stops it: `fast` ends every connection, `immediate` is a crash. Fails with its log when it does not end."""
        assert self._process is not None
        self._process.send_signal(SIGNALS[mode])
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            left = subprocess.run(["ps", "-efH"], capture_output=True, text=True, check=False).stdout
            raise AssertionError(f"PostgreSQL goes on after a stop that is {mode}.\n{self.log()}\n{left}") from None

    def log(self) -> str:
        """Returns the end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-5_000:]

    def end(self) -> None:
        """Kills it; its children end when they notice."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_SECONDS)

    def _spawn(self) -> None:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 300,
            "fsync": "off",
            **self.settings,
        }
        options = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        command = self._command("postgres", "-D", str(self._data), *options)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [*self._as_user, str(self._programs / program), *arguments]


def _programs() -> Path:
    found = shutil.which("initdb")
    if found is not None:
        # It may be a link to where the other programs are.
        return Path(found).resolve().parent
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
