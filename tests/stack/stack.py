"""`make stack` and `make stack-stop`: the processes of docker-compose.yml on this machine, without Docker.

PostgreSQL and Redis are the machine's (STACK_DATABASE_URL, STACK_REDIS_URL), nginx the distribution's. Logs, secrets
and the list of started processes are in STACK_DIRECTORY. Stopping ends the processes of that list and no others: each
by its id, and only if its start time is that of the list.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql

from tests.stack.composition import ROOT, PlannedProcess, StackLayout, one_shot, proxy, replicas, services

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
"""Longer than a drain; afterwards a process is killed, as by Docker."""


_CHILDREN: list[subprocess.Popen[bytes]] = []
"""The processes outlive this one, which reaps those that end before it."""


class Refused(Exception):
    """The stack cannot be started; the text says what to do."""


@dataclass(frozen=True)
class Started:
    """A process that was started here; `began` distinguishes it from a later one with the same id."""

    name: str
    pid: int
    began: str


def main(action: str) -> int:
    layout = StackLayout(Path(os.environ.get("STACK_DIRECTORY", ROOT / "data" / "stack")).resolve(), nginx_port())
    try:
        {"start": start, "stop": stop}[action](layout)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


def start(layout: StackLayout) -> None:
    """Starts everything and prints the addresses; stops everything again when a process does not become ready."""
    if any(map(is_alive, started_processes(layout))):
        raise Refused("The stack runs already: 'make stack-stop' ends it.")
    require_nginx()
    for name in ("secrets", "logs", "state", "nginx"):
        (layout.directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_urls(layout)
    for name in ("secrets", "migrate"):
        run_one_shot(one_shot(name, layout))
    _write([], layout)
    try:
        processes = replicas(layout)
        for planned in processes:
            spawn(planned, layout)
        for planned in processes:
            wait_until(f"{planned.name} is not ready", partial(is_healthy, planned), layout)
        web_ports = [int(each.environment["GATEWAY_PORT"]) for each in processes if each.name.startswith("web-")]
        spawn(proxy(layout, web_ports), layout)
        wait_until("nginx does not answer", lambda: is_nginx_healthy(layout), layout)
    except Refused:
        stop(layout)
        raise
    print(summary(layout))


def stop(layout: StackLayout) -> None:
    """Sends SIGTERM to nginx last, so that it passes requests on while the others drain, and nothing is lost."""
    running = [process for process in started_processes(layout) if is_alive(process)]
    behind = [process for process in running if process.name != "nginx"]
    for group in (behind, [process for process in running if process not in behind]):
        for process in group:
            send_signal(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(map(is_alive, group)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in filter(is_alive, group):
            print(f"{process.name} ({process.pid}) did not end in {STOP_SECONDS:.0f} s and is killed.")
            send_signal(process, signal.SIGKILL)
    for child in _CHILDREN:
        child.poll()
    _list(layout).unlink(missing_ok=True)
    print(f"{len(running)} processes ended; the database and {layout.directory} stay.")


def send_signal(process: Started, number: signal.Signals) -> None:
    """Sends a signal to exactly this process, if it still runs."""
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def spawn(planned: PlannedProcess, layout: StackLayout) -> Started:
    """Starts a process that outlives this one, and adds it to the list."""
    with (layout.directory / "logs" / f"{planned.name}.log").open("ab") as log:
        process = subprocess.Popen(
            planned.command, env=environment(planned.environment), cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    _CHILDREN.append(process)
    new = Started(planned.name, process.pid, start_time(process.pid))
    _write([*started_processes(layout), new], layout)
    return new


def run_one_shot(planned: PlannedProcess) -> None:
    """Runs a one-shot service; raises Refused with its output when it fails."""
    result = subprocess.run(
        planned.command, env=environment(planned.environment), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise Refused(f"{planned.name} failed:\n{result.stdout}{result.stderr}")


def environment(planned: Mapping[str, str]) -> dict[str, str]:
    """Returns the planned environment, and of the caller's only what programs need to be found."""
    kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict(planned)


def is_healthy(planned: PlannedProcess) -> bool:
    """Runs the health check of the container."""
    result = subprocess.run(
        planned.health, env=environment(planned.environment), cwd=ROOT, capture_output=True, check=False
    )
    return result.returncode == 0


def is_nginx_healthy(layout: StackLayout) -> bool:
    """Runs nginx's health check, at this machine's address."""
    url = services()["nginx"]["healthcheck"]["test"][-1].replace("http://127.0.0.1:8080", layout.public_url)
    command = [sys.executable, "deploy/healthcheck.py", urlsplit(url).path]
    asked = environment({"GATEWAY_PORT": str(layout.port)})
    return subprocess.run(command, env=asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def wait_until(complaint: str, well: Callable[[], bool], layout: StackLayout) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not well():
        dead = [process.name for process in started_processes(layout) if not is_alive(process)]
        if dead or time.monotonic() > deadline:
            raise Refused(f"{complaint}{f' ({dead[0]} ended)' if dead else ''}; its log is in {layout.directory}/logs.")
        time.sleep(0.2)


def write_urls(layout: StackLayout) -> None:
    """Writes the URLs of the machine's PostgreSQL and Redis to the files where the containers expect their own."""
    database_url = os.environ.get("STACK_DATABASE_URL") or f"{find_database_server()}/{DATABASE}"
    redis_url = os.environ.get("STACK_REDIS_URL") or REDIS_URL
    create_database(database_url)
    try:
        with redis.Redis.from_url(redis_url, socket_timeout=REACH_SECONDS, socket_connect_timeout=REACH_SECONDS) as it:
            it.ping()
    except (redis.RedisError, ValueError):
        raise Refused("No Redis answers: start the machine's, or set STACK_REDIS_URL.") from None
    for name, text in {"database_url": database_url, "redis_url": redis_url}.items():
        path = layout.secrets / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"{text}\n", encoding="ascii")


def find_database_server() -> str:
    for url in SERVERS:
        try:
            psycopg.connect(f"{url}/postgres", connect_timeout=REACH_SECONDS).close()
        except psycopg.Error:
            continue
        return url
    raise Refused("No PostgreSQL answers: start the machine's, or set STACK_DATABASE_URL.")


def create_database(url: str) -> None:
    """Creates the database when it is missing."""
    server, _, name = url.rpartition("/")
    try:
        with psycopg.connect(f"{server}/postgres", connect_timeout=REACH_SECONDS, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise Refused(f"STACK_DATABASE_URL: the database '{name}' cannot be made ({type(error).__name__}).") from None


def require_nginx() -> None:
    """Installs the distribution's nginx when it is missing and this user may. Processes of one machine do so one after
    the other: the package manager refuses a second one."""
    if shutil.which("nginx"):
        return
    with (Path(tempfile.gettempdir()) / "agent-gateway-nginx.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install_nginx()
    if not shutil.which("nginx"):
        raise Refused("There is no nginx and it could not be installed; on Debian and Ubuntu: apt-get install nginx")


def _install_nginx() -> None:
    if shutil.which("nginx") or not shutil.which("apt-get"):
        return
    rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "nginx-light"]):
        subprocess.run([*rights, "apt-get", *arguments], env=quiet, stdout=subprocess.DEVNULL, check=False)


def summary(layout: StackLayout) -> str:
    """Returns the text for the person who started the stack."""
    key = (layout.secrets / "api_keys").read_text(encoding="ascii").split()[0]
    lines = [f"The stack answers on {layout.public_url} (nginx)"]
    lines += [f"  {process.name:<10} process {process.pid}" for process in started_processes(layout)]
    return "\n".join(
        [*lines, f"  logs       {layout.directory}/logs", f"  API key    {key}", "", "make stack-stop ends it."]
    )


def nginx_port() -> int:
    """Returns nginx's port."""
    return int(os.environ.get("STACK_PORT") or PORT)


def started_processes(layout: StackLayout) -> list[Started]:
    """Returns the processes of the list."""
    path = _list(layout)
    return [Started(**entry) for entry in json.loads(path.read_text())] if path.exists() else []


def is_alive(process: Started) -> bool:
    """Returns True while exactly this process runs."""
    return bool(process.began) and start_time(process.pid) == process.began


def start_time(pid: int) -> str:
    """Returns the start time of the process with this id, in the kernel's ticks; empty when none runs or when it has
    ended and only waits to be reaped.

    `ps`, for systems without /proc, shows it in seconds, by a clock that drifts against those ticks.
    """
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == "Z" else fields[19]
    result = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return result.stdout.strip()


def _list(layout: StackLayout) -> Path:
    return layout.directory / "processes.json"


def _write(processes: Iterable[Started], layout: StackLayout) -> None:
    draft = layout.directory / "processes.json.new"
    draft.write_text(json.dumps([asdict(process) for process in processes], indent=1))
    draft.replace(_list(layout))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
