"""The checks of `gateway doctor`: each is a function that returns a level and one line of text.

They change nothing, and run beside a serving gateway or without one. A text never contains a secret: keys are named by
their variables, addresses are shown without credentials.
"""

from __future__ import annotations

import fcntl
import resource
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.db import DatabaseError, connection
from django.db.models import Exists, OuterRef, Sum

from core_app import clock
from core_app.database import database_now
from core_app.database_files import data_missing, database_reason
from events_app.lease import leases_stale
from gateway_project.configuration.checks import TAG
from gateway_project.configuration.databases import APPLICATION, max_connections
from gateway_project.http.health import WORKER_SECONDS, migrations_missing, workers_alive
from gateway_project.operations.configuration_checks import (
    check_admin_rows,
    check_configuration,
    check_providers,
    check_references,
)
from gateway_project.operations.finding import Check, Finding, Found, Level
from gateway_project.operations.mcp_servers import check_mcp_servers
from gateway_project.operations.secret_rotation import secrets_reseal
from sessions_app.models import Run, RunState
from tenants_app.models import LedgerEntry
from tools_app.models import ToolCall
from tools_app.states import WAITING as AWAITED

REACH_SECONDS = 3
SKEW_SECONDS = 1.0
"""Leases use the database's clock alone, but times of events and timers are compared with the process's clock."""

LEAST_FREE_BYTES = 1024**3
LEAST_FREE_SHARE = 0.05
FULL_BYTES = 64 * 1024**2
"""Below it SQLite's log and a transaction may not fit any more."""

RECOMMENDED_FILES = 4096
"""A connection is an open file; the usual limit of 1,024 is reached at about a thousand followers."""

RECENT_RUNS = 500
OLDEST_SECRETS = 1000
STALE_SECONDS = 30.0
"""The sweep takes over what a dead process held within seconds; anything older means that no sweep runs."""

SNAPSHOT_SECONDS = 60.0
_SNAPSHOTS = """
    SELECT name, seconds FROM (
        SELECT COALESCE(NULLIF(application_name, ''), 'process ' || pid) AS name,
            extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds
        FROM pg_stat_activity
        WHERE backend_xmin IS NOT NULL AND datname = current_database() AND backend_type <> 'autovacuum worker'
        UNION ALL
        SELECT 'prepared transaction ' || gid, extract(epoch FROM clock_timestamp() - prepared)::float
        FROM pg_prepared_xacts WHERE database = current_database()
    ) s WHERE seconds > %s ORDER BY seconds DESC
"""


def check_settings() -> Found:
    """Runs the system checks of the settings."""
    messages = run_checks(tags=[TAG])
    if not messages:
        return "ok", "every GATEWAY_* setting is usable."
    worst: Level = "wrong" if any(message.level >= ERROR for message in messages) else "warning"
    return worst, " ".join(f"{message.msg} ({message.id})" for message in messages)


def check_channel_layer() -> Found:
    """Asks Redis for its version, where it is used."""
    if not settings.GATEWAY_REDIS_URL:
        return "ok", "in memory, for one process."
    try:
        with redis.Redis.from_url(
            settings.GATEWAY_REDIS_URL, socket_timeout=REACH_SECONDS, socket_connect_timeout=REACH_SECONDS
        ) as client:
            version = client.info("server")["redis_version"]
    except (redis.RedisError, OSError, ValueError) as error:
        return "wrong", f"GATEWAY_REDIS_URL cannot be reached ({type(error).__name__})."
    return "ok", f"Redis {version} answers."


def check_disk() -> Found:
    """Checks the free space of the data directory's disk."""
    usage = shutil.disk_usage(_existing(settings.GATEWAY_DATA_DIR))
    text = f"{_size(usage.free)} of {_size(usage.total)} are free at GATEWAY_DATA_DIR."
    if usage.free < FULL_BYTES:
        return "wrong", f"{text} Requests fail once nothing can be written: free some."
    scarce = usage.free < LEAST_FREE_BYTES or usage.free < usage.total * LEAST_FREE_SHARE
    return ("warning" if scarce else "ok"), text


def _existing(directory: Path) -> Path:
    """Returns the directory, or the nearest one above it that exists."""
    return next((path for path in (directory, *directory.parents) if path.exists()), Path("/"))


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"


def check_open_files() -> Found:
    """Checks how many files, and so connections, the process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} open files are allowed ({hard} could be)."
    if soft != resource.RLIM_INFINITY and soft < RECOMMENDED_FILES:
        return "warning", f"{text} Every follower is one: raise it (ulimit -n) to {RECOMMENDED_FILES} at least."
    return "ok", text


def check_exposure() -> Found:
    """Checks that other machines reach the gateway through TLS or a proxy only."""
    host = settings.GATEWAY_HOST
    if _is_loopback(host):
        return "ok", f"GATEWAY_HOST is {host}: only this machine reaches the gateway directly."
    if settings.GATEWAY_TLS_CERT_FILE:
        return "ok", f"other machines reach {host} over TLS."
    if settings.GATEWAY_TRUSTED_PROXIES:
        return "ok", f"{host} is reached through GATEWAY_TRUSTED_PROXIES; a firewall must keep others from its port."
    return "warning", (
        f"GATEWAY_HOST is {host}: other machines reach the gateway without a proxy, and keys and texts travel in clear."
        " Set GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE, or listen on 127.0.0.1 behind a proxy and name it in"
        " GATEWAY_TRUSTED_PROXIES."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_data_directory() -> Found:
    """Finds the process that serves the data directory, where only one may."""
    path = settings.GATEWAY_DATA_DIR / "lock"
    if settings.GATEWAY_DATABASE_URL or not path.exists():
        return "ok", "nobody serves this data directory." if not path.exists() else "not used with PostgreSQL."
    with path.open("r", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "ok", f"process {file.read().strip() or 'unknown'} serves this data directory."
    return "ok", "nobody serves this data directory."


def check_database() -> Found:
    """Asks the database for its version. It creates none."""
    if (fault := data_missing()) is not None:
        return "wrong", fault
    try:
        if settings.GATEWAY_DATABASE_URL:
            # The pool behind `connection` would try for half a minute.
            psycopg.connect(settings.GATEWAY_DATABASE_URL, connect_timeout=REACH_SECONDS).close()
        with connection.cursor() as cursor:
            cursor.execute("SELECT sqlite_version()" if connection.vendor == "sqlite" else "SHOW server_version")
            version = cursor.fetchone()[0]
    except (DatabaseError, psycopg.Error) as error:
        setting = "GATEWAY_DATABASE_URL" if settings.GATEWAY_DATABASE_URL else "GATEWAY_DATA_DIR"
        return "wrong", f"{setting}: it cannot be used: {database_reason(error)}"
    return "ok", f"{connection.display_name} {version} answers."


def check_migrations() -> Found:
    """Checks that the schema is this version's."""
    missing = migrations_missing()
    if missing:
        return "wrong", f"{missing} migrations are not applied; run 'gateway prepare', or start the gateway."
    return "ok", "the schema is this version's."


def check_clocks() -> Found:
    """Compares the database's clock with this machine's."""
    before = time.time()
    skew = database_now() - (before + time.time()) / 2
    text = f"the database's clock is {abs(skew):.3f} s {'ahead of' if skew > 0 else 'behind'} this machine's."
    return ("warning" if abs(skew) > SKEW_SECONDS else "ok"), text


def check_leases() -> Found:
    """Finds expired leases, never released, of sessions whose run has not ended."""
    late = leases_stale(seconds=STALE_SECONDS)
    stale = late.filter(Exists(Run.objects.filter(session__stream_id=OuterRef("pk"), state=RunState.RUNNING))).count()
    if stale:
        return "wrong", f"{stale} runs are held by processes that are gone, and no process takes over: is one serving?"
    return "ok", "no run is held by a process that is gone."


def check_workers() -> Found:
    """Checks that a worker is alive, where runs need one."""
    if settings.GATEWAY_RUNNER != "worker":
        return "ok", "none needed, serving processes run their sessions."
    if not workers_alive():
        return "warning", f"none has been alive for {WORKER_SECONDS:.0f} s, and prompts wait: 'gateway worker'."
    return "ok", "at least one is alive."


def check_waiting_runs() -> Found:
    """Finds waiting runs without an awaited call, and queued runs that no process starts."""
    awaited = ToolCall.objects.filter(run_id=OuterRef("pk"), state__in=AWAITED)
    waiting = Run.objects.filter(state=RunState.WAITING)
    orphaned = waiting.filter(resume_at__isnull=True).exclude(Exists(awaited)).count()
    late = clock.now() - timedelta(seconds=STALE_SECONDS)
    active = Run.objects.filter(session_id=OuterRef("session_id"), state__in=[RunState.WAITING, RunState.RUNNING])
    queued = Run.objects.filter(state__in=[RunState.QUEUED, RunState.READY], created_at__lt=late)
    unserved = queued.exclude(Exists(active)).count()
    if orphaned:
        return "wrong", f"{orphaned} runs wait for nothing: all of their calls are settled."
    overdue = waiting.filter(resume_at__lt=late).count()
    if overdue:
        return "warning", f"{overdue} runs waited for a provider and no process resumes them: is one serving?"
    if unserved:
        return "warning", f"{unserved} runs are queued and no process has started them: is one serving?"
    return "ok", "every waiting run has a call or a provider to wait for."


def check_ledger() -> Found:
    """Compares the token sums of the newest runs with their ledger entries, which may have more: requests that were
    aborted or broke off are in the ledger alone, and so is a response whose checkpoint was refused."""
    newest = list(Run.objects.filter(turns__gt=0).order_by("-created_at").values_list("pk", flat=True)[:RECENT_RUNS])
    columns = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    sums = {name: Sum(name) for name in columns}
    entries = LedgerEntry.objects.filter(run_id__in=newest).order_by()
    rows = entries.values("run_id").annotate(**{f"of_{name}": total for name, total in sums.items()})
    spent: dict[str, Any] = {row["run_id"]: row for row in rows}
    different = [
        run
        for run in Run.objects.filter(pk__in=newest).only(*columns)
        if any(getattr(run, name) > spent.get(run.pk, {}).get(f"of_{name}", 0) for name in columns)
    ]
    if different:
        missing = f"{len(different)} of the newest {len(newest)} runs"
        return "wrong", f"{missing} have more usage than the ledger: {different[0].pk} …"
    return "ok", f"the ledger has all usage of the newest {len(newest)} runs."


def check_sealed_secrets() -> Found:
    """Checks that GATEWAY_SECRET_KEY or a fallback opens the sealed secrets: of each kind the oldest."""
    found = secrets_reseal(dry=True, most=OLDEST_SECRETS)
    if found.unreadable:
        kinds = ", ".join(sorted(found.unreadable))
        count = sum(found.unreadable.values())
        return "wrong", f"{count} of {found.all} secrets ({kinds}) were sealed under a GATEWAY_SECRET_KEY that is gone."
    if found.former:
        count = sum(found.former.values())
        return "warning", f"{count} of {found.all} secrets are under a former GATEWAY_SECRET_KEY: 'gateway reseal'."
    return "ok", f"GATEWAY_SECRET_KEY opens all of {found.all} secrets."


def check_connections() -> Found:
    """Checks that PostgreSQL accepts the connections of all processes and of one more."""
    if not settings.GATEWAY_DATABASE_URL:
        return "ok", "SQLite, which has no limit."
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
            " count(DISTINCT application_name) FROM pg_stat_activity"
            " WHERE datname = current_database() AND starts_with(application_name, %s)",
            [APPLICATION],
        )
        limit, processes = cursor.fetchone()
    # This command is one of them, and is about to end.
    processes = max(0, processes - 1)
    threads = settings.GATEWAY_DB_THREADS + settings.GATEWAY_ACTION_THREADS + settings.GATEWAY_REQUEST_THREADS
    of_each = max_connections(threads)
    text = f"{processes} processes are connected, each opens up to {of_each}; max_connections allows {limit}."
    if (processes + 1) * of_each <= limit:
        return "ok", text
    return "warning", (
        f"{text} One more process, as in a rolling restart, is too many: raise max_connections, or lower"
        " GATEWAY_DB_THREADS, GATEWAY_ACTION_THREADS and GATEWAY_REQUEST_THREADS."
    )


def check_snapshots() -> Found:
    """Finds transactions that keep PostgreSQL from removing old versions of rows."""
    if not settings.GATEWAY_DATABASE_URL:
        return "ok", "SQLite, which keeps one version of a row."
    with connection.cursor() as cursor:
        cursor.execute(_SNAPSHOTS, [SNAPSHOT_SECONDS])
        found = cursor.fetchall()
    if not found:
        return "ok", f"no transaction keeps a snapshot for more than {SNAPSHOT_SECONDS:.0f} s."
    name, seconds = found[0]
    return "warning", (
        f"{len(found)} transactions keep a snapshot for more than {SNAPSHOT_SECONDS:.0f} s, {name} for {seconds:.0f} s:"
        " commits become slower for as long. Back up with pg_basebackup, not pg_dump, and end forgotten transactions."
    )


BEFORE_THE_DATABASE: Mapping[str, Check] = {
    "settings": check_settings,
    "disk": check_disk,
    "open files": check_open_files,
    "exposure": check_exposure,
    "data directory": check_data_directory,
    "channel layer": check_channel_layer,
}
CONFIGURED: Mapping[str, Check] = {
    "configuration": check_configuration,
    "references": check_references,
    "providers": check_providers,
}
WITH_THE_SCHEMA: Mapping[str, Check] = {
    "connections": check_connections,
    "sealed secrets": check_sealed_secrets,
    "clocks": check_clocks,
    "leases": check_leases,
    "workers": check_workers,
    "waiting runs": check_waiting_runs,
    "ledger": check_ledger,
    "snapshots": check_snapshots,
    "mcp servers": check_mcp_servers,
}


def findings() -> Iterator[Finding]:
    """Runs all checks in order. When the database cannot be used, those that need it are left out and the configuration
    is checked without the admin's rows."""
    yield from (_run_check(name, check) for name, check in BEFORE_THE_DATABASE.items())
    found = [_run_check("database", check_database)]
    if found[0].level == "ok":
        found.append(_run_check("migrations", check_migrations))
    yield from found
    usable = all(finding.level == "ok" for finding in found)
    if usable:
        yield _run_check("rows", check_admin_rows)
    yield from (_run_check(name, check) for name, check in CONFIGURED.items())
    if usable:
        yield from (_run_check(name, check) for name, check in WITH_THE_SCHEMA.items())


def _run_check(name: str, check: Check) -> Finding:
    try:
        level, text = check()
    except DatabaseError as error:
        level, text = "wrong", f"the database failed: {database_reason(error)}"
    return Finding(name, level, text)
