"""System checks of the settings. Each has a stable id and a sentence that says what to set.

`gateway serve` runs them before anything else and does not start when one is an error. Combinations that would lose
events are errors. docs/configuration.md lists the checks.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from agents_app import guardrails
from core_app.ids import CELL
from core_app.suggestion import suggestion
from gateway_project.configuration.environment import SECRETS
from gateway_project.observability.logs import FORMATS, LEVELS
from tenants_app.roles import ROLES, group_roles

TAG = "gateway"
RUNNERS = ("inline", "worker")
AUTH_MODES = ("token", "password", "device")
SYNCHRONOUS = ("NORMAL", "FULL", "EXTRA")
POSITIVE = (
    "GATEWAY_MAX_BODY_BYTES", "GATEWAY_MAX_ATTACHMENT_BYTES", "GATEWAY_MAX_FOLLOWERS_PER_TENANT",
    "GATEWAY_MAX_QUEUED_PROMPTS", "GATEWAY_HEARTBEAT_SECONDS", "GATEWAY_SLOW_FOLLOWER_SECONDS",
    "GATEWAY_FOLLOWER_QUEUE_BYTES", "GATEWAY_MAX_RUNS", "GATEWAY_MAX_RUN_SECONDS", "GATEWAY_MAX_ATTEMPTS",
    "GATEWAY_LEASE_SECONDS", "GATEWAY_SWEEP_SECONDS", "GATEWAY_APPROVAL_TIMEOUT_SECONDS", "GATEWAY_DB_THREADS",
    "GATEWAY_REQUEST_THREADS", "GATEWAY_ATTACHMENT_MEMORY_BYTES", "GATEWAY_MAX_CONNECTIONS",
    "GATEWAY_CONNECTION_TIMEOUT", "GATEWAY_RPC_HEARTBEAT_SECONDS",
    "GATEWAY_MAX_URL_BYTES", "GATEWAY_MAX_HEADERS", "GATEWAY_MAX_HEAD_BYTES", "GATEWAY_HEAD_SECONDS",
    "GATEWAY_MAX_IDLE_CONNECTIONS", "GATEWAY_MAX_IDLE_PER_ADDRESS", "GATEWAY_RESERVED_FILES",
    "GATEWAY_SOCKET_FRAMES_PER_MINUTE", "GATEWAY_SOCKET_MESSAGES_PER_MINUTE", "GATEWAY_FAILED_KEYS_PER_MINUTE",
    "GATEWAY_MIN_BODY_BYTES_PER_SECOND",
    "GATEWAY_CONTENT_THREADS",
    "GATEWAY_CONTENT_SECONDS", "GATEWAY_CONNECTIONS_PER_HOST", "GATEWAY_CONNECTIONS_PER_TENANT",
    "GATEWAY_ACTION_THREADS", "GATEWAY_TENANT_SHARE",
    "GATEWAY_SESSION_THREADS", "GATEWAY_MAX_WAITING_REQUESTS", "GATEWAY_LOCK_TIMEOUT_SECONDS",
    "GATEWAY_BODY_MEMORY_BYTES",
    "GATEWAY_BUDGET_OUTPUT_TOKENS",
    "GATEWAY_REQUEST_TIMEOUT", "GATEWAY_AGENT_STREAM_TIMEOUT", "GATEWAY_AGENT_OUTPUT_BYTES",
    "GATEWAY_AGENT_LINE_BYTES", "GATEWAY_CLIENT_TOOL_SECONDS", "GATEWAY_CLIENT_TOOL_TIMEOUT_SECONDS",
    "GATEWAY_PROGRAM_SECONDS", "GATEWAY_SIGN_IN_SECONDS",
)  # fmt: skip

MIN_SECRET_KEY = 32
"""Characters. Signatures of the gateway are over known texts, so a short key is found by trying."""

MIN_API_KEY = 20
MAX_PROCESSES = 64

_OF_OTHERS = re.compile(
    # Of the second spelling each has a twin, which is checked.
    r"GATEWAY_(_|TEST_|BENCH_)"
    # The Compose file's own, the tests', and the client's.
    r"|GATEWAY_(IMAGE_TAG|SECRETS|HTTPS?_PORT|PROXY_SUBNET|REQUIRE_SERVICES|RECORD|URL|KEY|VERSION)\Z"
    # Kubernetes adds these for a service called `gateway`.
    r"|GATEWAY_(\w+_)?(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP))"
)

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#]+")

OTEL_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
OTEL_PROTOCOL = "http/protobuf"
OTEL_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
OTEL_MISSING = (
    "GATEWAY_OTEL is on and the OpenTelemetry packages are not installed: install the extra 'otel'"
    " (pip install 'agent-gateway[otel]'), or switch GATEWAY_OTEL off."
)


def deployment(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Checks where state and messages are kept, and which processes execute legs."""
    return list(_deployment())


def values(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Checks values that the typed reader accepts but that cannot work."""
    return [
        *_unknown_names(), *_choices(), *_numbers(), *_secrets(), *_tls(), *_traces(), *_addresses(), *_references(),
        *_identity_provider(),
    ]  # fmt: skip


def _unknown_names() -> Iterator[CheckMessage]:
    """Warns of variables that look like settings and are none. A warning, because container platforms add variables of
    their own that begin with the name of a service."""
    known = setting_names()
    for name in sorted(os.environ):
        if not name.startswith("GATEWAY_") or name in known or _OF_OTHERS.match(name) or _is_in_configuration(name):
            continue
        yield Warning(f"{name} is not a setting.{suggestion(name, known)}", id="gateway.W005")


def setting_names() -> frozenset[str]:
    """Returns every variable that the gateway reads as a setting."""
    settings_read = {name for name in dir(settings) if name.startswith("GATEWAY_")}
    return frozenset({"GATEWAY_ENV_FILE", *SECRETS, *(f"{name}_FILE" for name in SECRETS), *settings_read})


def _is_in_configuration(name: str) -> bool:
    """Returns True for a variable that the configuration file names, as the key of a provider for instance."""
    try:
        return name in Path(settings.GATEWAY_CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _deployment() -> Iterator[CheckMessage]:
    scheme = settings.GATEWAY_REDIS_URL.partition(":")[0]
    if settings.GATEWAY_REDIS_URL and scheme not in ("redis", "rediss", "unix"):
        yield Error(
            f"GATEWAY_REDIS_URL starts with '{scheme}:'; it takes redis://, rediss:// or unix://.", id="gateway.E001"
        )
    elif not _has_readable_port(settings.GATEWAY_REDIS_URL):
        yield Error(
            "GATEWAY_REDIS_URL is no address: it takes redis://:password@host:6379/0, where / @ : # ? % in a password"
            " are percent-encoded.",
            id="gateway.E001",
        )
    if settings.GATEWAY_RUNNER not in RUNNERS:
        yield Error(f"GATEWAY_RUNNER is '{settings.GATEWAY_RUNNER}'; it is 'inline' or 'worker'.", id="gateway.E002")
    if settings.GATEWAY_RUNNER == "worker" and not settings.GATEWAY_DATABASE_URL:
        yield Error(
            "GATEWAY_RUNNER=worker needs PostgreSQL: set GATEWAY_DATABASE_URL, since SQLite serves one process only.",
            id="gateway.E003",
        )
    elif settings.GATEWAY_RUNNER == "worker" and not settings.GATEWAY_REDIS_URL:
        yield Error(
            "GATEWAY_RUNNER=worker needs Redis: set GATEWAY_REDIS_URL, otherwise workers' events reach no follower.",
            id="gateway.E004",
        )
    if settings.GATEWAY_REDIS_URL and not settings.GATEWAY_DATABASE_URL:
        yield Warning(
            "GATEWAY_REDIS_URL is set without GATEWAY_DATABASE_URL: SQLite serves one process, which needs no Redis.",
            id="gateway.W001",
        )


def _choices() -> Iterator[CheckMessage]:
    if settings.GATEWAY_SYNCHRONOUS not in SYNCHRONOUS:
        yield Error(
            f"GATEWAY_SYNCHRONOUS is '{settings.GATEWAY_SYNCHRONOUS}'; it is NORMAL, FULL or EXTRA"
            " (with OFF a crash of the machine could destroy the database).",
            id="gateway.E005",
        )
    if unknown := [mode for mode in settings.GATEWAY_AUTH_MODES if mode not in AUTH_MODES]:
        yield Error(
            f"GATEWAY_AUTH_MODES names '{unknown[0]}'; it lists {_join(AUTH_MODES)}."
            " Tailscale has a setting of its own, GATEWAY_ALLOW_TAILSCALE.",
            id="gateway.E021",
        )
    if settings.GATEWAY_LOG_LEVEL.upper() not in LEVELS:
        yield Error(f"GATEWAY_LOG_LEVEL is '{settings.GATEWAY_LOG_LEVEL}'; it is {_join(LEVELS)}.", id="gateway.E006")
    if settings.GATEWAY_LOG_FORMAT not in FORMATS:
        yield Error(
            f"GATEWAY_LOG_FORMAT is '{settings.GATEWAY_LOG_FORMAT}'; it is {_join(FORMATS)}.", id="gateway.E007"
        )


def _numbers() -> Iterator[CheckMessage]:
    ports = [settings.GATEWAY_PORT, *settings.GATEWAY_EXTRA_PORTS]
    if not all(0 < port < 65_536 for port in ports) or len(set(ports)) < len(ports):
        yield Error(
            "GATEWAY_PORT and GATEWAY_EXTRA_PORTS take numbers from 1 to 65535, each once.",
            id="gateway.E008",
        )
    processes, first = settings.GATEWAY_PROCESSES, settings.GATEWAY_PROCESS_PORT
    if not 1 <= processes <= MAX_PROCESSES:
        yield Error(f"GATEWAY_PROCESSES is {processes}; it is a number from 1 to {MAX_PROCESSES}.", id="gateway.E030")
    elif first and (not 0 < first <= 65_536 - processes or set(range(first, first + processes)) & set(ports)):
        yield Error(
            f"GATEWAY_PROCESS_PORT is {first}; it is the first of {processes} ports up to 65535, which are neither"
            " GATEWAY_PORT nor among GATEWAY_EXTRA_PORTS.",
            id="gateway.E030",
        )
    for name in POSITIVE:
        if getattr(settings, name) <= 0:
            yield Error(f"{name} is {getattr(settings, name)}; it must be more than 0.", id="gateway.E009")
    for name in ("GATEWAY_RATE_LIMIT_RPM", "GATEWAY_TENANT_RATE_LIMIT_RPM"):
        if getattr(settings, name) < 0:
            yield Error(f"{name} is negative; 0 switches the limit off.", id="gateway.E009")
    if settings.GATEWAY_DEFAULT_CONTEXT_TOKENS < 0:
        yield Error("GATEWAY_DEFAULT_CONTEXT_TOKENS is negative; 0 means that it is unknown.", id="gateway.E009")
    if settings.GATEWAY_DRAIN_SECONDS < 0:
        yield Error("GATEWAY_DRAIN_SECONDS is negative; 0 hands running legs over at once.", id="gateway.E009")


def _secrets() -> Iterator[CheckMessage]:
    length = len(settings.SECRET_KEY)
    if length < MIN_SECRET_KEY:
        yield Error(
            f"GATEWAY_SECRET_KEY has {length} characters; it needs at least {MIN_SECRET_KEY}, because whoever guesses"
            " it signs for every tenant: set the output of 'openssl rand -base64 48', or leave it empty.",
            id="gateway.E018",
        )
    keys = (entry.partition(":")[0].strip() for entry in settings.GATEWAY_API_KEYS)
    if short := sum(0 < len(key) < MIN_API_KEY for key in keys):
        yield Warning(
            f"GATEWAY_API_KEYS has {short} keys with fewer than {MIN_API_KEY} characters, which can be guessed: issue"
            " keys with 'gateway key issue'.",
            id="gateway.W003",
        )
    yield from _open_directory(Path(settings.GATEWAY_DATA_DIR))


def _open_directory(directory: Path) -> Iterator[CheckMessage]:
    embedded = not settings.GATEWAY_DATABASE_URL
    if not directory.is_dir() or not (embedded or (directory / "secret_key").exists()):
        return
    if (mode := stat.S_IMODE(directory.stat().st_mode)) & 0o077:
        yield Warning(
            f"GATEWAY_DATA_DIR, '{directory}', is open to other users of this machine (mode {mode:04o}), with the"
            f" secret key and the data in it: chmod -R go= '{directory}'.",
            id="gateway.W004",
        )


def _tls() -> Iterator[CheckMessage]:
    files = {
        "GATEWAY_TLS_CERT_FILE": settings.GATEWAY_TLS_CERT_FILE,
        "GATEWAY_TLS_KEY_FILE": settings.GATEWAY_TLS_KEY_FILE,
    }
    if len({bool(value) for value in files.values()}) == 2:
        yield Error("GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE go together: set both or none.", id="gateway.E010")
    for name, value in files.items():
        if value and not Path(value).is_file():
            yield Error(f"{name} names '{value}', which is not a file.", id="gateway.E010")
    if all(value and Path(value).is_file() for value in files.values()):
        yield from _certificate_chain(*files.values())


def _certificate_chain(chain: str, key: str) -> Iterator[CheckMessage]:
    try:
        # For a key with a passphrase OpenSSL would prompt on a terminal that a service does not have.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password=lambda: b"")
    except (OSError, ValueError):
        yield Error(
            "GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE are not a PEM chain and its key (without a passphrase).",
            id="gateway.E010",
        )


def _traces() -> Iterator[CheckMessage]:
    if not settings.GATEWAY_OTEL:
        return
    if otel_missing():
        yield Error(OTEL_MISSING, id="gateway.E011")
    for name in OTEL_PROTOCOLS:
        if os.environ.get(name, OTEL_PROTOCOL) != OTEL_PROTOCOL:
            yield Warning(
                f"{name} is '{os.environ[name]}'; the gateway exports traces over {OTEL_PROTOCOL} only.",
                id="gateway.W002",
            )


def _addresses() -> Iterator[CheckMessage]:
    for proxy in settings.GATEWAY_TRUSTED_PROXIES:
        if proxy != "*" and not _is_network(proxy):
            yield Error(
                f"GATEWAY_TRUSTED_PROXIES has '{proxy}'; it takes addresses and networks: 127.0.0.1, 10.0.0.0/8.",
                id="gateway.E012",
            )
    for origin in settings.GATEWAY_CORS_ORIGINS:
        if origin not in ("*", "null") and not ORIGIN.fullmatch(origin):
            yield Error(
                f"GATEWAY_CORS_ORIGINS has '{origin}'; an origin is https://app.example.com, without a path.",
                id="gateway.E013",
            )
    if not settings.GATEWAY_PUBLIC_URL.startswith(("http://", "https://")):
        yield Error(
            f"GATEWAY_PUBLIC_URL is '{settings.GATEWAY_PUBLIC_URL}'; it starts with http:// or https://.",
            id="gateway.E014",
        )
    if not CELL.match(settings.GATEWAY_CELL):
        yield Error(
            f"GATEWAY_CELL is '{settings.GATEWAY_CELL}'; it is at most 8 lowercase letters and digits.",
            id="gateway.E022",
        )


def _identity_provider() -> Iterator[CheckMessage]:
    issuer = settings.GATEWAY_OIDC_ISSUER
    if not issuer:
        return
    if not issuer.startswith(("http://", "https://")) or not settings.GATEWAY_OIDC_CLIENT_ID:
        yield Error(
            "GATEWAY_OIDC_ISSUER is an address, https://id.example.com, and needs GATEWAY_OIDC_CLIENT_ID.",
            id="gateway.E023",
        )
    try:
        group_roles()
    except ValueError as error:
        yield Error(
            f"GATEWAY_OIDC_GROUP_ROLES has '{error}'; an entry is group=tenant:role, with one of {_join(list(ROLES))}.",
            id="gateway.E024",
        )


def _references() -> Iterator[CheckMessage]:
    """Checks files and modules that settings name and that are first used long after the start."""
    config = Path(settings.GATEWAY_CONFIG)
    if config != settings.BASE_DIR / "config" / "gateway.yaml" and not config.is_file():
        yield Error(f"GATEWAY_CONFIG names '{config}', which is not a file.", id="gateway.E015")
    for entry in settings.GATEWAY_ENGINES:
        name, _, module = (part.strip() for part in entry.partition("="))
        if not name or not _is_module(module):
            yield Error(
                f"GATEWAY_ENGINES has '{entry}'; it takes name=module, and Python finds no such module.",
                id="gateway.E016",
            )
    try:
        guardrails.load_guardrails()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="gateway.E017")


def _has_readable_port(url: str) -> bool:
    try:
        urlsplit(url).port  # noqa: B018  (raises when it is not a number)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_module(name: str) -> bool:
    try:
        return bool(name) and find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def otel_missing() -> bool:
    """Returns True when the packages of the extra `otel` are not installed."""
    try:
        return any(find_spec(name) is None for name in OTEL_PACKAGES)
    except ModuleNotFoundError:
        return True


def _join(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
