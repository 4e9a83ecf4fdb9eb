"""Django settings, and every GATEWAY_* setting with its default and reason. The gateway runs with none set.

docs/configuration.md and .env.example list the same names; a test compares the three.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway_project.configuration.channels import channel_layer
from gateway_project.configuration.databases import postgresql, sqlite
from gateway_project.configuration.environment import data_directory, env, secret_key
from gateway_project.configuration.framework import (  # noqa: F401  (Django, DRF and drf-spectacular read them here)
    AUTH_PASSWORD_VALIDATORS,
    REST_FRAMEWORK,
    SPECTACULAR_SETTINGS,
    TEMPLATES,
)
from gateway_project.configuration.people import SIGN_IN_APPS, SIGN_IN_MIDDLEWARE, identity_providers
from gateway_project.configuration.storages import storages

BASE_DIR = Path(__file__).resolve().parent.parent
GATEWAY_VERSION = "0.1.0"

# --- Addresses and files -----------------------------------------------------------------------------
GATEWAY_HOST = env.str("HOST", "127.0.0.1")
GATEWAY_PORT = env.int("PORT", 4000)
# The same application at more ports, for clients with built-in ports.
GATEWAY_EXTRA_PORTS = env.list("EXTRA_PORTS", [], subcast=int)
# Server processes of one `serve`, which need PostgreSQL and Redis. Each has a port of its own besides, on this machine,
# where its metrics are read: the first of them, or 0 for none.
GATEWAY_PROCESSES = env.int("PROCESSES", 1)
GATEWAY_PROCESS_PORT = env.int("PROCESS_PORT", 0)
GATEWAY_TLS_CERT_FILE = env.str("TLS_CERT_FILE", "")
GATEWAY_TLS_KEY_FILE = env.str("TLS_KEY_FILE", "")
# The code of this deployment in its ids and secrets, when there are several behind one address: a proxy routes by it.
GATEWAY_CELL = env.str("CELL", "")
# The address at which others reach this gateway; the `resultUrl` of callbacks begins with it.
GATEWAY_PUBLIC_URL = env.str("PUBLIC_URL", "") or f"http://{GATEWAY_HOST}:{GATEWAY_PORT}"
GATEWAY_DATA_DIR = data_directory()
GATEWAY_CONFIG = Path(env.str("CONFIG", str(BASE_DIR / "config" / "gateway.yaml")))
GATEWAY_DATABASE_URL = env.str("DATABASE_URL", "")
GATEWAY_REDIS_URL = env.str("REDIS_URL", "")
GATEWAY_ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["*"])
GATEWAY_TRUSTED_PROXIES: list[str] = env.list("TRUSTED_PROXIES", [])
GATEWAY_CORS_ORIGINS: list[str] = env.list("CORS_ORIGINS", [])
GATEWAY_LOG_LEVEL = env.str("LOG_LEVEL", "") or env.str("_LOG_LEVEL", "INFO")
GATEWAY_LOG_FORMAT = env.str("LOG_FORMAT", "auto")
GATEWAY_DEBUG = env.bool("DEBUG", False)
# Traces; their target, sampling and queue are set by the standard OTEL_* variables.
GATEWAY_OTEL = env.bool("OTEL", False)
# Without it spans carry no text of people, models and tools.
GATEWAY_OTEL_CONTENT = env.bool("OTEL_CONTENT", False)
# Hosts that receive `traceparent`, which tells them which of our requests belong together.
GATEWAY_OTEL_PROPAGATE: list[str] = env.list("OTEL_PROPAGATE", [])

# --- Keys and limits ---------------------------------------------------------------------------------
GATEWAY_API_KEYS: list[str] = env.list("API_KEYS", [])
GATEWAY_RATE_LIMIT_RPM = env.int("RATE_LIMIT_RPM", 600)
# All keys of a tenant together: its administrators issue keys, and must not multiply the limit by their number.
GATEWAY_TENANT_RATE_LIMIT_RPM = env.int("TENANT_RATE_LIMIT_RPM", 5 * GATEWAY_RATE_LIMIT_RPM)
# Tokens of an issuer (JWT) in place of keys, on every face. These name the issuer of tenant `default`; other tenants
# name theirs in their setting `jwt`.
GATEWAY_USE_JWT_AUTH = env.bool("USE_JWT_AUTH", False)
GATEWAY_JWT_JWKS_URL = env.str("JWT_JWKS_URL", "")
GATEWAY_JWT_ISSUER = env.str("JWT_ISSUER", "")
GATEWAY_JWT_AUDIENCE = env.str("JWT_AUDIENCE", "")
# The claim with the slug of the token's tenant, for an issuer that serves all tenants. Empty: all are of `default`.
GATEWAY_JWT_TENANT_CLAIM = env.str("JWT_TENANT_CLAIM", "")
GATEWAY_MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", 1024 * 1024)
GATEWAY_MAX_ATTACHMENT_BYTES = env.int("MAX_ATTACHMENT_BYTES", 20 * 1024 * 1024)
# Of models whose window neither the configuration nor the public list of models has. 0: unknown, so a conversation is
# shortened only once a provider has refused it.
GATEWAY_DEFAULT_CONTEXT_TOKENS = env.int("DEFAULT_CONTEXT_TOKENS", 128_000)
# In a request to a model they take up to four times as much: as bytes, in base64, and in the request's body.
GATEWAY_ATTACHMENT_MEMORY_BYTES = env.int("ATTACHMENT_MEMORY_BYTES", 128 * 1024 * 1024)
# Requests of the inference paths contain images and documents.
GATEWAY_MAX_INFERENCE_BODY_BYTES = env.int("MAX_INFERENCE_BODY_BYTES", 64 * 1024 * 1024)
# After its first minute a body must have arrived at this rate: a byte now and then would keep a request for ever.
GATEWAY_MIN_BODY_BYTES_PER_SECOND = env.int("MIN_BODY_BYTES_PER_SECOND", 1024)
# The bodies of all requests in progress, a tenant's at most half; reading one takes up to three times its size.
GATEWAY_BODY_MEMORY_BYTES = env.int("BODY_MEMORY_BYTES", 256 * 1024 * 1024)
# A revoked key must be refused by every process within seconds; a look-up costs a query.
GATEWAY_KEY_CACHE_SECONDS = env.float("KEY_CACHE_SECONDS", 2.0)
GATEWAY_MAX_FOLLOWERS_PER_TENANT = env.int("MAX_FOLLOWERS_PER_TENANT", 20_000)
GATEWAY_MAX_QUEUED_PROMPTS = env.int("MAX_QUEUED_PROMPTS", 32)
# Limits of one tenant, so that none fills the database; 0 means no limit. A tenant's own settings take precedence.
GATEWAY_MAX_SESSIONS_PER_TENANT = env.int("MAX_SESSIONS_PER_TENANT", 1_000_000)
GATEWAY_MAX_WAITING_PER_TENANT = env.int("MAX_WAITING_PER_TENANT", 100_000)
# Requests with a wrong key from one address per minute; further ones get 429. Its valid keys are not limited.
GATEWAY_FAILED_KEYS_PER_MINUTE = env.int("FAILED_KEYS_PER_MINUTE", 30)
# Responses to requests with an Idempotency-Key, each stored for a day; about 1 KiB.
GATEWAY_MAX_STORED_RESPONSES_PER_TENANT = env.int("MAX_STORED_RESPONSES_PER_TENANT", 1_000_000)
GATEWAY_CALLBACK_ALLOW_PRIVATE = env.bool("CALLBACK_ALLOW_PRIVATE", False)
# Connections of one tenant to the hosts that it names: callbacks, webhooks, pages, attachments.
GATEWAY_CONNECTIONS_PER_HOST = env.int("CONNECTIONS_PER_HOST", 32)
GATEWAY_CONNECTIONS_PER_TENANT = env.int("CONNECTIONS_PER_TENANT", 500)

# --- People ------------------------------------------------------------------------------------------
# A sign-in of a person lasts this long; the roles that an identity provider gives are read at each.
GATEWAY_SIGN_IN_SECONDS = env.int("SIGN_IN_SECONDS", 12 * 3600)
# An OpenID Connect provider; its `/.well-known/openid-configuration` has everything else.
GATEWAY_OIDC_ISSUER = env.str("OIDC_ISSUER", "")
GATEWAY_OIDC_CLIENT_ID = env.str("OIDC_CLIENT_ID", "")
GATEWAY_OIDC_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", "")
# The words on the button.
GATEWAY_OIDC_NAME = env.str("OIDC_NAME", "Single sign-on")
GATEWAY_OIDC_SCOPES: list[str] = env.list("OIDC_SCOPES", ["openid", "profile", "email"])
# Claims with the person's name and groups; a dot leads into an object (`realm_access.roles`).
GATEWAY_OIDC_CLAIM_NAME = env.str("OIDC_CLAIM_NAME", "preferred_username")
GATEWAY_OIDC_CLAIM_GROUPS = env.str("OIDC_CLAIM_GROUPS", "groups")
# Roles of groups: `group=tenant:role`.
GATEWAY_OIDC_GROUP_ROLES: list[str] = env.list("OIDC_GROUP_ROLES", [])
# Claims with the slug of one tenant and the role there, for providers that keep them so.
GATEWAY_OIDC_CLAIM_TENANT = env.str("OIDC_CLAIM_TENANT", "")
GATEWAY_OIDC_CLAIM_ROLE = env.str("OIDC_CLAIM_ROLE", "")
# Whom people without a tenant should ask.
GATEWAY_OIDC_CONTACT = env.str("OIDC_CONTACT", "")

# --- Agentbus ----------------------------------------------------------------------------------------
# Ways to sign in to the socket: token, password, device. A client that has signed in may always resume.
GATEWAY_AUTH_MODES: list[str] = env.list("AUTH_MODES", ["token"])
# Makes the user `gateway` of tenant `default` with this password, for clients that know only a password.
GATEWAY_PASSWORD = env.str("PASSWORD", "")
# Peers of the tailnet need no credential: tailscaled at this socket, or Tailscale's own proxy, says who they are.
GATEWAY_ALLOW_TAILSCALE = env.bool("ALLOW_TAILSCALE", False)
GATEWAY_TAILSCALE_SOCKET = env.str("TAILSCALE_SOCKET", "/var/run/tailscale/tailscaled.sock")
# Connections of a process, and of one tenant in it.
GATEWAY_MAX_CONNECTIONS = env.int("MAX_CONNECTIONS", 1000)
# A connection without any frame of its client for this long is closed.
GATEWAY_CONNECTION_TIMEOUT = env.float("CONNECTION_TIMEOUT", 300.0)
GATEWAY_RPC_HEARTBEAT_SECONDS = env.float("RPC_HEARTBEAT_SECONDS", 30.0)
# `system.info` and `system.status` before `connect`.
GATEWAY_RPC_PUBLIC_STATUS = env.bool("RPC_PUBLIC_STATUS", False)

# --- Agents ------------------------------------------------------------------------------------------
# A runtime that serves every session of the agent `remote`, and agents of that type without an endpoint of their own.
GATEWAY_AGENT_URL = env.str("AGENT_URL", "")
# To the first byte of an agent's answer, and between its bytes.
GATEWAY_REQUEST_TIMEOUT = env.float("REQUEST_TIMEOUT", 30.0)
GATEWAY_AGENT_STREAM_TIMEOUT = env.float("AGENT_STREAM_TIMEOUT", 60.0)
# One answer of an agent, in all and per line or event: an agent that floods harms only its own run.
GATEWAY_AGENT_OUTPUT_BYTES = env.int("AGENT_OUTPUT_BYTES", 16 * 1024 * 1024)
GATEWAY_AGENT_LINE_BYTES = env.int("AGENT_LINE_BYTES", 1024 * 1024)
# One start of a program that is an agent: its time, and the address space of each of its processes (0: no limit).
GATEWAY_PROGRAM_SECONDS = env.float("PROGRAM_SECONDS", 1800.0)
GATEWAY_PROGRAM_MEMORY_BYTES = env.int("PROGRAM_MEMORY_BYTES", 8 * 1024 * 1024 * 1024)
# Between two checks whether an agent's program is here or its address answers; 0 switches the checks off.
GATEWAY_AGENT_CHECK_SECONDS = env.float("AGENT_CHECK_SECONDS", 15.0)
# Running runs from which on an agent is shown as busy; 0: never. An agent's own `max_running` takes precedence.
GATEWAY_AGENT_BUSY_RUNS = env.int("AGENT_BUSY_RUNS", 32)
# Agents that one tenant has registered; 0 means no limit.
GATEWAY_MAX_AGENTS_PER_TENANT = env.int("MAX_AGENTS_PER_TENANT", 100)
# A call that an agent addressed to the connected client waits this long for its result.
# The wait of a client tool's call for a client; from then on the tool's own time-out counts.
GATEWAY_CLIENT_TOOL_TIMEOUT_SECONDS = env.float("CLIENT_TOOL_TIMEOUT_SECONDS", 86_400.0)
GATEWAY_CLIENT_TOOL_SECONDS = env.float("CLIENT_TOOL_SECONDS", 300.0)

# Between the words of the demo's answers, so that a stream can be watched.
GATEWAY_DEMO_DELAY_MS = env.int("DEMO_DELAY_MS", 30)

# --- Tasks and spaces --------------------------------------------------------------------------------
# `heartbeat` events on /events.
GATEWAY_MESH_HEARTBEAT_SECONDS = env.float("MESH_HEARTBEAT_SECONDS", 30.0)
# One tenant's spaces, and the bytes of their messages and artifacts together; 0 means no limit.
GATEWAY_MAX_SPACES_PER_TENANT = env.int("MAX_SPACES_PER_TENANT", 100_000)
GATEWAY_MAX_SPACE_BYTES_PER_TENANT = env.int("MAX_SPACE_BYTES_PER_TENANT", 10 * 1024 * 1024 * 1024)
# Unfinished tasks of one tenant; 0 means no limit.
GATEWAY_MAX_TASKS_PER_TENANT = env.int("MAX_TASKS_PER_TENANT", 10_000)
# A directory for the files of spaces, which all hosts with web processes must have. Without it they are in the data
# directory, or with PostgreSQL in the database.
GATEWAY_ARTIFACTS_DIR = env.str("ARTIFACTS_DIR", "")

# --- Connections -------------------------------------------------------------------------------------
GATEWAY_MAX_URL_BYTES = env.int("MAX_URL_BYTES", 16 * 1024)
GATEWAY_MAX_HEADERS = env.int("MAX_HEADERS", 100)
GATEWAY_MAX_HEAD_BYTES = env.int("MAX_HEAD_BYTES", 64 * 1024)
# From the connection, and on a kept one from the first byte, to the end of the headers.
GATEWAY_HEAD_SECONDS = env.float("HEAD_SECONDS", 15.0)
# Connections without a request; the longest waiting ones are closed beyond it.
GATEWAY_MAX_IDLE_CONNECTIONS = env.int("MAX_IDLE_CONNECTIONS", 1000)
GATEWAY_MAX_IDLE_PER_ADDRESS = env.int("MAX_IDLE_PER_ADDRESS", 100)
# Open files that connections may not use up: databases, providers and callbacks need them. At most a quarter of all.
GATEWAY_RESERVED_FILES = env.int("RESERVED_FILES", 128)
# Pings, pongs and small fragments of one socket, which clients send a few of.
GATEWAY_SOCKET_FRAMES_PER_MINUTE = env.int("SOCKET_FRAMES_PER_MINUTE", 1000)
# Messages of one socket; each 32 KiB of their size counts as one more.
GATEWAY_SOCKET_MESSAGES_PER_MINUTE = env.int("SOCKET_MESSAGES_PER_MINUTE", 6000)

# --- Codelab -----------------------------------------------------------------------------------------
# Keys between services: `key` (tenant `default`), `key:tenant-slug` or `key:*`. None lets nobody in.
GATEWAY_INTERNAL_API_KEY: list[str] = env.list("INTERNAL_API_KEY", [])
# Answers every valid body of /tool/execute with 202, as the original gateway did; the body says what happened.
GATEWAY_COMPAT_STATUS_202 = env.bool("COMPAT_STATUS_202", False)
# A tool call fails only when no client of its session has been connected for this long.
GATEWAY_RECONNECT_GRACE = env.float("RECONNECT_GRACE", 5.0)
# Sockets from this machine need no credential. For development: behind a proxy everybody may seem to be here.
GATEWAY_ALLOW_ANONYMOUS_LOOPBACK = env.bool("ALLOW_ANONYMOUS_LOOPBACK", False)

# --- Streams -----------------------------------------------------------------------------------------
GATEWAY_HEARTBEAT_SECONDS = env.float("HEARTBEAT_SECONDS", 15.0)
# A follower that does not read a frame for this long is ended; it resumes from its last id.
GATEWAY_SLOW_FOLLOWER_SECONDS = env.float("SLOW_FOLLOWER_SECONDS", 20.0)
# The same for a client of the model gateway: one that stops reading would hold its provider's stream for ever.
GATEWAY_SLOW_CLIENT_SECONDS = env.float("SLOW_CLIENT_SECONDS", 60.0)
# Live events that wait for one follower, in memory; beyond it the follower reads the log. Half a gigabyte for 8,000
# followers of as many streams that are all stuck.
GATEWAY_FOLLOWER_QUEUE_BYTES = env.int("FOLLOWER_QUEUE_BYTES", 64 * 1024)
GATEWAY_SYNCHRONOUS = env.str("SYNCHRONOUS", "NORMAL")
# PostgreSQL: whether a commit of streamed events waits for the disk and a synchronous standby. If not, a crash may lose
# the last ones, and their readers are told. All other commits wait.
GATEWAY_SYNCHRONOUS_DELTAS = env.bool("SYNCHRONOUS_DELTAS", True)

# --- Runs --------------------------------------------------------------------------------------------
GATEWAY_RUNNER = env.str("RUNNER", "inline")
# Sessions that one worker process runs at a time (GATEWAY_RUNNER=worker), and a fifth more for tenants that would
# otherwise wait for all sessions of another tenant.
GATEWAY_WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY", 50)
# The port of a worker's /healthz and /readyz; 0 means none.
GATEWAY_WORKER_PORT = env.int("WORKER_PORT", 0)
GATEWAY_MAX_RUNS = env.int("MAX_RUNS", 500)
# One tenant's share of them, so that the runs of others start at once.
GATEWAY_MAX_RUNS_PER_TENANT = env.int("MAX_RUNS_PER_TENANT", 300)
GATEWAY_MAX_RUN_SECONDS = env.int("MAX_RUN_SECONDS", 3600)
GATEWAY_MAX_ATTEMPTS = env.int("MAX_ATTEMPTS", 3)
# A run waits for a provider that cannot be asked, and fails after this time without progress; 0: it fails at once.
GATEWAY_PROVIDER_OUTAGE_SECONDS = env.int("PROVIDER_OUTAGE_SECONDS", 900)
# The session of a killed worker continues within 15 s: the lease's 10 s and a sweep.
GATEWAY_LEASE_SECONDS = env.float("LEASE_SECONDS", 10.0)
GATEWAY_SWEEP_SECONDS = env.float("SWEEP_SECONDS", 2.0)
GATEWAY_DRAIN_SECONDS = env.float("DRAIN_SECONDS", 10.0)
# Days that sessions, events, ledger rows and audit entries are kept; 0 means for ever. A tenant's own settings come
# first.
GATEWAY_RETENTION_SESSIONS_DAYS = env.int("RETENTION_SESSIONS_DAYS", 0)
GATEWAY_RETENTION_EVENTS_DAYS = env.int("RETENTION_EVENTS_DAYS", 0)
GATEWAY_RETENTION_LEDGER_DAYS = env.int("RETENTION_LEDGER_DAYS", 0)
GATEWAY_RETENTION_AUDIT_DAYS = env.int("RETENTION_AUDIT_DAYS", 0)
GATEWAY_RETENTION_RESPONSES_DAYS = env.int("RETENTION_RESPONSES_DAYS", 30)
# Responses whose requests do not say `store`. A tenant's own setting comes first.
GATEWAY_STORE_RESPONSES = env.bool("STORE_RESPONSES", True)
GATEWAY_APPROVAL_TIMEOUT_SECONDS = env.int("APPROVAL_TIMEOUT_SECONDS", 86_400)
# Additional engines, as name=module; the module defines ENGINE.
GATEWAY_ENGINES: list[str] = env.list("ENGINES", [])
# Classes of the operator that check prompts, tool calls and completions: package.module:Class.
GATEWAY_GUARDRAILS: list[str] = env.list("GUARDRAILS", [])
GATEWAY_BANNED_WORDS: list[str] = env.list("BANNED_WORDS", [])
# The output that a request without a limit of its own reserves in budgets; it is sent to the provider as the limit.
GATEWAY_BUDGET_OUTPUT_TOKENS = env.int("BUDGET_OUTPUT_TOKENS", 8192)
# Three quarters for legs, a quarter for followers and checks: a leg that waits for a lock delays no reader.
GATEWAY_DB_THREADS = env.int("DB_THREADS", 16)
# Threads in which pages, large tool results and long conversations are read; a tenant may use half of them.
GATEWAY_CONTENT_THREADS = env.int("CONTENT_THREADS", 4)
GATEWAY_CONTENT_SECONDS = env.float("CONTENT_SECONDS", 10.0)
# For what clients ask over sockets, and for the opening of their event streams.
GATEWAY_ACTION_THREADS = env.int("ACTION_THREADS", 8)
GATEWAY_REQUEST_THREADS = env.int("REQUEST_THREADS", 24)
# One tenant's part of each of these, and one session's most, so that requests that wait for a locked session leave
# threads to everybody else. What exceeds them waits, up to a number.
GATEWAY_TENANT_SHARE = env.float("TENANT_SHARE", 0.25)
GATEWAY_SESSION_THREADS = env.int("SESSION_THREADS", 4)
GATEWAY_MAX_WAITING_REQUESTS = env.int("MAX_WAITING_REQUESTS", 256)
# A client waits this long for a row that another transaction has locked.
GATEWAY_LOCK_TIMEOUT_SECONDS = env.float("LOCK_TIMEOUT_SECONDS", 3.0)

# --- Django ------------------------------------------------------------------------------------------
SECRET_KEY = secret_key(GATEWAY_DATA_DIR)
# Former keys: they still open what they sealed and verify what they signed, and are used for nothing new.
GATEWAY_SECRET_KEY_FALLBACKS: list[str] = env.list("SECRET_KEY_FALLBACKS", [])
SECRET_KEY_FALLBACKS = GATEWAY_SECRET_KEY_FALLBACKS
DEBUG = GATEWAY_DEBUG
ALLOWED_HOSTS = GATEWAY_ALLOWED_HOSTS
ROOT_URLCONF = "gateway_project.urls"
ASGI_APPLICATION = "gateway_project.asgi.application"
AUTH_USER_MODEL = "tenants_app.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
# Times in the admin have the format of the logs, so that they can be searched there.
FORMAT_MODULE_PATH = "gateway_project.formats"
STATIC_URL = "/static/"
# The JavaScript client as it is written: pages of this gateway import it.
STATICFILES_DIRS = [("agent-gateway-client", BASE_DIR / "clients" / "typescript" / "src")]
# Static files are served from their packages: nothing has to be collected before the first start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = GATEWAY_DEBUG
APPEND_SLASH = False
# After a sign-in whose `next` leads elsewhere.
LOGIN_REDIRECT_URL = "/admin/"
LOGGING_CONFIG = "gateway_project.observability.logs.configure"
LOGGING = {"level": GATEWAY_LOG_LEVEL, "format": GATEWAY_LOG_FORMAT}
# The gate limits bodies before Django reads them.
DATA_UPLOAD_MAX_MEMORY_SIZE = None

# The wire protocols, a package each; its `face.FACE` is everything that it adds. A face is removed with its folder and
# its line here. docs/adding-a-face.md adds one.
FACES = [
    "faces.native",
    "faces.platform",
    "faces.inference",
    "faces.responses",
    "faces.agentbus",
    "faces.codelab",
    "faces.mesh",
    "faces.acp",
    "faces.console",
]

INSTALLED_APPS = [
    # First, so that `runserver` is daphne's. The app `daphne` itself would import Twisted, 0.45 s, at every start.
    "gateway_project",
    # Before Django's admin, some of whose templates it replaces.
    "admin_app",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    # The files of Swagger UI; `gateway_project.openapi` builds the document.
    "drf_spectacular_sidecar",
    "channels",
    *(SIGN_IN_APPS if GATEWAY_OIDC_ISSUER else ()),
    "core_app",
    "tenants_app",
    "events_app",
    "edge_app",
    "inference_app",
    "tools_app",
    "agents_app",
    "sessions_app",
    "responses_app",
    *FACES,
]

if GATEWAY_DATABASE_URL:
    # Its migrations need PostgreSQL; an embedded gateway has no queue.
    INSTALLED_APPS.insert(INSTALLED_APPS.index("core_app"), "procrastinate.contrib.django")

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "gateway_project.http.page_headers.PageHeaders",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    *(SIGN_IN_MIDDLEWARE if GATEWAY_OIDC_ISSUER else ()),
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# Names of their own: cookies know no ports, and another Django on the same host has the same names by default. Pages
# read the CSRF token from their own markup.
SESSION_COOKIE_NAME = "gateway_session"
SESSION_COOKIE_AGE = GATEWAY_SIGN_IN_SECONDS
CSRF_COOKIE_NAME = "gateway_csrf"
CSRF_COOKIE_HTTPONLY = True
# Django's default lies below every path that a server does not have: pages of people begin at the console's.
LOGIN_URL = "/console/sign-in"
SOCIALACCOUNT_ADAPTER = "admin_app.oidc.adapter.Accounts"
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5
SOCIALACCOUNT_EMAIL_VERIFICATION = ACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_PROVIDERS = identity_providers(
    GATEWAY_OIDC_ISSUER,
    name=GATEWAY_OIDC_NAME,
    client_id=GATEWAY_OIDC_CLIENT_ID,
    secret=GATEWAY_OIDC_CLIENT_SECRET,
    scopes=GATEWAY_OIDC_SCOPES,
)


DATABASES = {
    "default": postgresql(
        GATEWAY_DATABASE_URL,
        threads=GATEWAY_DB_THREADS + GATEWAY_ACTION_THREADS + GATEWAY_REQUEST_THREADS,
        lease_seconds=GATEWAY_LEASE_SECONDS,
        lock_seconds=GATEWAY_LOCK_TIMEOUT_SECONDS,
    )
    if GATEWAY_DATABASE_URL
    else sqlite(
        GATEWAY_DATA_DIR / "gateway.sqlite3",
        test_file=env.str("TEST_SQLITE", "") or GATEWAY_DATA_DIR / "test.sqlite3",
        synchronous=GATEWAY_SYNCHRONOUS,
        lock_seconds=GATEWAY_LOCK_TIMEOUT_SECONDS,
    )
}

STORAGES = storages(
    "faces.mesh.storage.DatabaseStorage" if GATEWAY_DATABASE_URL else None, GATEWAY_ARTIFACTS_DIR, GATEWAY_DATA_DIR
)

CHANNEL_LAYERS: dict[str, dict[str, Any]] = {"default": channel_layer(GATEWAY_REDIS_URL)}
