"""`make stack` and `make stack-stop`: the processes of docker-compose.yml on this machine, without Docker.

PostgreSQL and Redis are the machine's (STACK_DATABASE_URL, STACK_REDIS_URL), nginx the distribution's. Everything
else, with logs, secrets and the list of what was started, is in STACK_DIRECTORY. Stopping ends the processes of that
list and no others: each by its id, and only when it began when the list says.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql

from tests.stack.composition import ROOT, Places, Planned, one_shot, proxy, replicas, services

DATABASE = "agent_gateway_stack"
SERVERS = (
    "postgresql://postgres@127.0.0.1:5432",
    "postgresql://postgres:postgres@127.0.0.1:5432",
    "postgresql://gateway_ci:gateway_ci@127.0.0.1:5432",
)
REDIS_URL = "redis://127.0.0.1:6379/15"
PORT = 4000
REACH_SECONDS = 3
READY_SECONDS = 60.0
STOP_SECONDS = 35.0
"""Longer than a drain; then it is killed, as Docker would."""


_CHILDREN: list[subprocess.Popen[bytes]] = []
"""They outlive this process; one that ends before it is reaped by it."""


class Refused(Exception):
    """The stack cannot be started; the text is a sentence that says what to do."""


@dataclass(frozen=True)
class Started:
    """A process that was started here; `began` tells it from a later one with the same id."""

    name: str
    pid: int
    began: str


def main(action: str) -> int:
    places = Places(Path(os.environ.get("STACK_DIRECTORY", ROOT / "data" / "stack")).resolve(), port())
    try:
        {"start": start, "stop": stop}[action](places)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


def start(places: Places) -> None:
    """Starts everything and says where it is; what was begun is stopped again when a part does not come up."""
    if any(map(alive, started(places))):
        raise Refused("The stack runs already: 'make stack-stop' ends it.")
    nginx_require()
    for name in ("secrets", "logs", "state", "nginx"):
        (places.directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    addresses_write(places)
    for name in ("secrets", "migrate"):
        run_to_its_end(one_shot(name, places))
    _write([], places)
    try:
        processes = replicas(places)
        for planned in processes:
            spawn(planned, places)
        for planned in processes:
            until(f"{planned.name} is not ready", partial(healthy, planned), places)
        web_ports = [int(each.environment["GATEWAY_PORT"]) for each in processes if each.name.startswith("web-")]
        spawn(proxy(places, web_ports), places)
        until("nginx does not answer", lambda: nginx_healthy(places), places)
    except Refused:
        stop(places)
        raise
    print(said(places))


def stop(places: Places) -> None:
    """SIGTERM in the order that loses nothing: nginx last, so that requests are passed on while the others drain."""
    running = [process for process in started(places) if alive(process)]
    behind = [process for process in running if process.name != "nginx"]
    for group in (behind, [process for process in running if process not in behind]):
        for process in group:
            signal_send(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(map(alive, group)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in filter(alive, group):
            print(f"{process.name} ({process.pid}) did not end in {STOP_SECONDS:.0f} s and is killed.")
            signal_send(process, signal.SIGKILL)
    for child in _CHILDREN:
        child.poll()
    _list(places).unlink(missing_ok=True)
    print(f"{len(running)} processes ended; the database and {places.directory} stay.")


def signal_send(process: Started, number: signal.Signals) -> None:
    """To this very process, if it is still there."""
    if alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def spawn(planned: Planned, places: Places) -> Started:
    """Starts a process that outlives this one and notes it down."""
    with (places.directory / "logs" / f"{planned.name}.log").open("ab") as log:
        process = subprocess.Popen(
            planned.command, env=environment(planned.environment), cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    _CHILDREN.append(process)
    new = Started(planned.name, process.pid, began(process.pid))
    _write([*started(places), new], places)
    return new


def run_to_its_end(planned: Planned) -> None:
    """A one-shot; what it says is shown when it fails."""
    result = subprocess.run(
        planned.command, env=environment(planned.environment), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise Refused(f"{planned.name} failed:\n{result.stdout}{result.stderr}")


def environment(planned: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the caller's but what a program needs to be found."""
    kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict(planned)


def healthy(planned: Planned) -> bool:
    """The container's health check, run here."""
    result = subprocess.run(
        planned.health, env=environment(planned.environment), cwd=ROOT, capture_output=True, check=False
    )
    return result.returncode == 0


def nginx_healthy(places: Places) -> bool:
    """nginx's, with its address replaced by this machine's."""
    url = services()["nginx"]["healthcheck"]["test"][-1].replace("http://127.0.0.1:8080", places.public_url)
    command = [sys.executable, "deploy/healthcheck.py", urlsplit(url).path]
    asked = environment({"GATEWAY_PORT": str(places.port)})
    return subprocess.run(command, env=asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def until(complaint: str, well: Callable[[], bool], places: Places) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not well():
        dead = [process.name for process in started(places) if not alive(process)]
        if dead or time.monotonic() > deadline:
            raise Refused(f"{complaint}{f' ({dead[0]} ended)' if dead else ''}; its log is in {places.directory}/logs.")
        time.sleep(0.2)


def addresses_write(places: Places) -> None:
    """The machine's PostgreSQL and Redis, where the composition would write its own containers'."""
    database_url = os.environ.get("STACK_DATABASE_URL") or f"{database_server()}/{DATABASE}"
    redis_url = os.environ.get("STACK_REDIS_URL") or REDIS_URL
    database_make(database_url)
    try:
        with redis.Redis.from_url(redis_url, socket_timeout=REACH_SECONDS, socket_connect_timeout=REACH_SECONDS) as it:
            it.ping()
    except (redis.RedisError, ValueError):
        raise Refused("No Redis answers: start the machine's, or set STACK_REDIS_URL.") from None
    for name, text in {"database_url": database_url, "redis_url": redis_url}.items():
        path = places.secrets / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"{text}\n", encoding="ascii")


def database_server() -> str:
    for url in SERVERS:
        try:
            psycopg.connect(f"{url}/postgres", connect_timeout=REACH_SECONDS).close()
        except psycopg.Error:
            continue
        return url
    raise Refused("No PostgreSQL answers: start the machine's, or set STACK_DATABASE_URL.")


def database_make(url: str) -> None:
    """Makes the database when it is not there."""
    server, _, name = url.rpartition("/")
    try:
        with psycopg.connect(f"{server}/postgres", connect_timeout=REACH_SECONDS, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise Refused(f"STACK_DATABASE_URL: the database '{name}' cannot be made ({type(error).__name__}).") from None


def nginx_require() -> None:
    """nginx of the distribution, installed when it is missing and this user may."""
    if shutil.which("nginx"):
        return
    rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "nginx-light"]):
            subprocess.run([*rights, "apt-get", *arguments], env=quiet, stdout=subprocess.DEVNULL, check=False)
    if not shutil.which("nginx"):
        raise Refused("There is no nginx and it could not be installed; on Debian and Ubuntu: apt-get install nginx")


def said(places: Places) -> str:
    """What the person who started it needs."""
    key = (places.secrets / "api_keys").read_text(encoding="ascii").split()[0]
    lines = [f"The stack answers on {places.public_url} (nginx)"]
    lines += [f"  {process.name:<10} process {process.pid}" for process in started(places)]
    return "\n".join(
        [*lines, f"  logs       {places.directory}/logs", f"  API key    {key}", "", "make stack-stop ends it."]
    )


def port() -> int:
    """nginx's."""
    return int(os.environ.get("STACK_PORT") or PORT)


def started(places: Places) -> list[Started]:
    """What the list says was started."""
    path = _list(places)
    return [Started(**entry) for entry in json.loads(path.read_text())] if path.exists() else []


def alive(process: Started) -> bool:
    """Whether it is this very process that still runs."""
    return bool(process.began) and began(process.pid) == process.began


def began(pid: int) -> str:
    """When the process with this id began, in the kernel's own ticks; empty when none runs (one that has ended and
    only waits to be reaped does not).

    `ps` says the same in seconds, by a clock that drifts against those ticks: it serves where there is no /proc.
    """
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == "Z" else fields[19]
    result = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return result.stdout.strip()


def _list(places: Places) -> Path:
    return places.directory / "processes.json"


def _write(processes: Iterable[Started], places: Places) -> None:
    draft = places.directory / "processes.json.new"
    draft.write_text(json.dumps([asdict(process) for process in processes], indent=1))
    draft.replace(_list(places))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
