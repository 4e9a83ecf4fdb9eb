"""`doctor`: the gateway from the client's side. The gateway's own doctor is `manage.py doctor`."""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import typer
from rich.text import Text

from gateway_client import errors
from gateway_client.cli.command import Cli, command
from gateway_client.cli.settings import KEY_VARIABLE, config_path
from gateway_client.sync import Gateway

CLOCK_SECONDS = 30
"""Signatures are refused when clocks are five minutes apart; people wonder about times long before."""
STREAM_SECONDS = 5.0
SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Check:
    """A finding. `status` is `ok`, `warning` or `failure`."""

    name: str
    status: str
    detail: str


def register(app: typer.Typer) -> None:
    command(app)(doctor)


def doctor(cli: Cli) -> None:
    """Check address, key, scopes, clock and streams from here. The exit code is 1 when something fails."""
    found: list[Check] = []
    with cli.gateway() as gateway:
        for check in _checks(cli, gateway):
            found.append(check)
            if not cli.screen.as_json:
                sign, style = SIGNS[check.status]
                cli.screen.show(Text.assemble((f"{sign} ", style), (f"{check.name:8}", "bold"), check.detail))
    if cli.screen.as_json:
        cli.screen.document({"checks": [asdict(check) for check in found]})
    if any(check.status == "failure" for check in found):
        raise typer.Exit(1)


def _checks(cli: Cli, gateway: Gateway) -> Iterator[Check]:
    yield from _own_files()
    began = time.time()
    try:
        health = gateway.health()
    except errors.GatewayError as error:
        yield Check("address", "failure", cli.explain(error))
        return
    took = time.time() - began
    settings = cli.settings
    yield Check("address", "ok", f"{settings.url} answers in {took * 1000:.0f} ms, version {health.version}")
    if settings.url.startswith("http://") and "//127." not in settings.url and "//localhost" not in settings.url:
        yield Check("address", "warning", "The key travels without encryption: use https outside of this machine.")
    yield clock_check(health.timestamp / 1000 - (began + took / 2))
    scopes, check = _scopes(cli, gateway)
    yield from check
    if "tasks" in scopes:
        yield _stream(gateway)
    elif scopes:
        yield Check("stream", "warning", "Not checked: it needs a key with the scope 'tasks'.")


def _own_files() -> Iterator[Check]:
    path: Path = config_path()
    if path.exists() and os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Check("config", "warning", f"{path} can be read by others: chmod 600 {path}")


def clock_check(ahead: float) -> Check:
    """Judges how many seconds the gateway's clock is ahead of this one."""
    if abs(ahead) <= CLOCK_SECONDS:
        return Check("clock", "ok", "this clock and the gateway's agree")
    way = "ahead of" if ahead > 0 else "behind"
    return Check("clock", "warning", f"the gateway's clock is {abs(ahead):.0f} s {way} this one: set them by NTP")


def _scopes(cli: Cli, gateway: Gateway) -> tuple[set[str], list[Check]]:
    """Finds out what the key may do by asking for something of each kind."""
    asked: dict[str, Callable[[], object]] = {
        "sessions": lambda: list(islice(gateway.sessions.list(), 1)),
        "tasks": lambda: list(gateway.tasks.list(limit=1)),
        "agents:read": gateway.agents.list,
        "inference": gateway.models,
        "operator": gateway.usage,
        "admin": gateway.webhooks.list,
        "platform": gateway.quota,
    }
    has: set[str] = set()
    for scope, ask in asked.items():
        try:
            ask()
            has.add(scope)
        except errors.Forbidden:
            continue
        except errors.Unauthorized as error:
            return set(), [Check("key", "failure", cli.explain(error))]
        except errors.GatewayError as error:
            return has, [Check("key", "failure", f"{scope}: {cli.explain(error)}")]
    source = cli.settings.sources.get("api_key", KEY_VARIABLE)
    lacks = ", ".join(scope for scope in asked if scope not in has)
    checks = [Check("key", "ok", f"{cli.settings.shown_key} from {source} is valid")]
    checks.append(
        Check(
            "scopes",
            "ok" if has else "failure",
            f"has {', '.join(has & asked.keys()) or 'none'}" + (f"; lacks {lacks}" if lacks else ""),
        )
    )
    return has, checks


def _stream(gateway: Gateway) -> Check:
    """Sends a broadcast of its own and waits for it: a proxy that buffers keeps both it and the stream's beginning."""
    kind = f"doctor.{secrets.token_hex(8)}"
    try:
        with gateway.tasks.events(timeout=STREAM_SECONDS) as events:
            next(events)
            began = time.monotonic()
            gateway.tasks.broadcast(kind)
            while next(events).type != kind and time.monotonic() < began + STREAM_SECONDS:
                pass
            took = time.monotonic() - began
    except errors.WaitTimeout:
        took = STREAM_SECONDS
    except errors.GatewayError as error:
        return Check("stream", "failure", f"live events cannot be read: {error}")
    if took < STREAM_SECONDS:
        return Check("stream", "ok", f"live events arrive in {took * 1000:.0f} ms")
    return Check(
        "stream",
        "failure",
        f"no live event arrived within {STREAM_SECONDS:g} s: a proxy in between buffers (nginx: proxy_buffering off)",
    )
