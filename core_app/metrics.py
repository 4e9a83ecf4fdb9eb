"""The Prometheus instruments of all rooms in one module, because their names are an interface.

Counting costs about a microsecond. Numbers that a part keeps anyway (the flusher's commits, the hub's followers) are
read when `/metrics` is requested: `gateway_project.observability.metrics`. All numbers are of this process alone.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

# A line per sample with its creation time would double the exposition, and nothing reads it.
disable_created_metrics()

REGISTRY = CollectorRegistry(auto_describe=True)

HTTP_REQUESTS = Counter(
    "gateway_http_requests", "HTTP requests and socket upgrades.", ["route", "method", "status"], registry=REGISTRY
)
HTTP_SECONDS = Histogram(
    "gateway_http_answer_seconds",
    "Time to the start of the response; of a stream, to its head.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
    registry=REGISTRY,
)
ERRORS = Counter("gateway_errors", "Errors in the native dialect, by code.", ["code"], registry=REGISTRY)
CONTENT_TIMEOUTS = Counter(
    "gateway_content_timeouts",
    "Pages and tool results that were given up after GATEWAY_CONTENT_SECONDS.",
    registry=REGISTRY,
)
WAITING_REFUSED = Counter(
    "gateway_waiting_refused",
    "Requests, actions and legs' queries refused because too many of their tenant wait, by lane.",
    ["lane"],
    registry=REGISTRY,
)
LOCK_TIMEOUTS = Counter(
    "gateway_lock_timeouts",
    "Requests answered 503 because a lock was not free within GATEWAY_LOCK_TIMEOUT_SECONDS.",
    registry=REGISTRY,
)
RATE_LIMITED = Counter("gateway_rate_limited", "Requests refused by the rpm of a key or a tenant.", registry=REGISTRY)

CONNECTIONS_REFUSED = Counter(
    "gateway_connections_refused",
    "Connections that the server refused or closed at one of its own limits, by reason.",
    ["reason"],
    registry=REGISTRY,
)
FAILED_KEYS = Counter(
    "gateway_failed_keys",
    "Requests with a wrong key, by outcome: refused (401), limited (429).",
    ["outcome"],
    registry=REGISTRY,
)
BODIES_REFUSED = Counter(
    "gateway_bodies_refused",
    "Bodies for which GATEWAY_BODY_MEMORY_BYTES had no room: in the share of their tenant, or in all.",
    ["share"],
    registry=REGISTRY,
)

COMMIT_SECONDS = Histogram(
    "gateway_commit_seconds",
    "Group commits of streamed events.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
    registry=REGISTRY,
)
COMMIT_EVENTS = Histogram(
    "gateway_commit_events",
    "Events in one group commit.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000),
    registry=REGISTRY,
)

FOLLOWER_QUEUES_DROPPED = Counter(
    "gateway_follower_queues_dropped",
    "Queues of followers that were full and dropped: these read the log instead.",
    registry=REGISTRY,
)
STREAM_RESETS = Counter(
    "gateway_stream_resets",
    "Readers that were told `reset`, because the database no longer has events that they had seen.",
    registry=REGISTRY,
)
FENCED = Counter("gateway_fenced_writes", "Writes refused because the lease was lost.", registry=REGISTRY)

FLUSHER_FAILURES = Counter(
    "gateway_flusher_failures",
    "Failures of the flusher outside its commits; the thread goes on, or is started again.",
    registry=REGISTRY,
)

QUEUE_SECONDS = Histogram(
    "gateway_queue_seconds",
    "Time from when a run could go on, with no run before it and nothing awaited, to the start of its leg.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 300, 1800),
    registry=REGISTRY,
)
LEGS_RETRIED = Counter(
    "gateway_legs_retried",
    "Legs that were started again because the attempt before broke off.",
    registry=REGISTRY,
)
PROVIDER_WAITS = Counter(
    "gateway_provider_waits",
    "Waits of runs for a provider that could not be asked: begun (waiting), resumed, given up (failed).",
    ["outcome"],
    registry=REGISTRY,
)
LEG_SECONDS = Histogram(
    "gateway_leg_seconds",
    "Time from the start of a leg to its end.",
    ["engine"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 180, 600, 1800, 3600),
    registry=REGISTRY,
)
FIRST_TOKEN_SECONDS = Histogram(
    "gateway_first_token_seconds",
    "Time from the start of a leg to its first text or thought.",
    ["engine"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
    registry=REGISTRY,
)
JOB_HINT_FAILURES = Counter(
    "gateway_job_hint_failures", "Hints to workers that Redis did not take: their jobs start late.", registry=REGISTRY
)
SHARED_FAILURES = Counter(
    "gateway_inference_shared_failures", "Rounds in which providers' state could not be shared.", registry=REGISTRY
)
CALLS_LOST = Counter(
    "gateway_calls_lost",
    "Requests to providers that are in no ledger, by reason: full, refused by the database.",
    ["reason"],
    registry=REGISTRY,
)
MCP_CALLS = Counter(
    "gateway_mcp_calls", "Calls of MCP tools, by server and status.", ["server", "status"], registry=REGISTRY
)
MCP_FAILURES = Counter(
    "gateway_mcp_failures",
    "Failed attempts to connect to an MCP server; tenants' servers count as one.",
    ["server"],
    registry=REGISTRY,
)
TOKENS = Counter("gateway_tokens", "Tokens of model responses.", ["model", "direction"], registry=REGISTRY)
_PROVIDER_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
PROVIDER_REQUESTS = Counter(
    "gateway_provider_requests",
    "Relayed calls that ended at a provider, by outcome: ok, left (by the client), broken, refused, failed.",
    ["provider", "model", "outcome"],
    registry=REGISTRY,
)
PROVIDER_SECONDS = Histogram(
    "gateway_provider_answer_seconds",
    "Time to the end of a relayed call that was answered, with its retries.",
    ["provider", "model"],
    buckets=_PROVIDER_BUCKETS,
    registry=REGISTRY,
)
PROVIDER_FIRST_BYTE_SECONDS = Histogram(
    "gateway_provider_first_byte_seconds",
    "Time to the first byte of a relayed call, with its retries.",
    ["provider", "model"],
    buckets=_PROVIDER_BUCKETS,
    registry=REGISTRY,
)
PROVIDER_TOKENS = Counter(
    "gateway_provider_tokens",
    "Tokens of relayed calls and of runs, by direction: input, output, and cached as a part of the input.",
    ["provider", "model", "direction"],
    registry=REGISTRY,
)
PROVIDER_COST = Counter(
    "gateway_provider_cost_usd",
    "US dollars of relayed calls and of runs, as far as prices are known.",
    ["provider", "model"],
    registry=REGISTRY,
)
PROVIDER_RETRIES = Counter(
    "gateway_provider_retries",
    "Attempts after the first one of a relayed call, at the same provider or the next.",
    ["provider", "model"],
    registry=REGISTRY,
)
PROVIDER_FAILED_ATTEMPTS = Counter(
    "gateway_provider_failed_attempts",
    "Failed attempts of relayed calls, by reason: key, account, rate_limit, request, connect, disconnected, timeout, "
    "status, garbage, stream_error.",
    ["provider", "model", "reason"],
    registry=REGISTRY,
)
WEBHOOK_ATTEMPTS = Counter("gateway_webhook_attempts", "Webhook attempts, by outcome.", ["outcome"], registry=REGISTRY)
RUNS_OVERDUE = Counter(
    "gateway_runs_overdue",
    "Running runs that the sweep ended, a minute past GATEWAY_MAX_RUN_SECONDS: their engine ignored its cancellation.",
    registry=REGISTRY,
)
RUNS_ENDED = Counter("gateway_runs_ended", "Runs that ended in this process, by state.", ["state"], registry=REGISTRY)
SPANS = Counter(
    "gateway_spans",
    "Spans of traces, by outcome: exported, failed, dropped.",
    ["outcome"],
    registry=REGISTRY,
)
