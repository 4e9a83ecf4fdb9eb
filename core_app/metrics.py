"""What is counted, for `/metrics`: every room's instruments in one place, because their names are an interface.

Counting costs about a microsecond. What a part counts by itself anyway (the flusher's commits, the hub's followers)
is read when `/metrics` is asked: `gateway_project.observability.metrics`. All numbers are this process's own.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

# A line per sample that says when it began: half of the exposition, and nobody asks.
disable_created_metrics()

REGISTRY = CollectorRegistry(auto_describe=True)

HTTP_REQUESTS = Counter(
    "gateway_http_requests", "HTTP requests and socket upgrades.", ["route", "method", "status"], registry=REGISTRY
)
HTTP_SECONDS = Histogram(
    "gateway_http_answer_seconds",
    "Until an answer began; of a stream, until its head.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
    registry=REGISTRY,
)
ERRORS = Counter("gateway_errors", "Errors told to clients, by code.", ["code"], registry=REGISTRY)
RATE_LIMITED = Counter("gateway_rate_limited", "Requests refused by a key's rpm.", registry=REGISTRY)

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

FENCED = Counter("gateway_fenced_writes", "Writes refused because the lease was lost.", registry=REGISTRY)

QUEUE_SECONDS = Histogram(
    "gateway_queue_seconds",
    "From when a run could go on, nobody before it and nothing awaited, to the beginning of its leg.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 300, 1800),
    registry=REGISTRY,
)
LEGS_RETRIED = Counter(
    "gateway_legs_retried",
    "Legs that were begun again because the attempt before had ended halfway.",
    registry=REGISTRY,
)
LEG_SECONDS = Histogram(
    "gateway_leg_seconds",
    "From the beginning of a leg to its end.",
    ["engine"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 180, 600, 1800, 3600),
    registry=REGISTRY,
)
FIRST_TOKEN_SECONDS = Histogram(
    "gateway_first_token_seconds",
    "From the beginning of a leg to its first text or thought.",
    ["engine"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
    registry=REGISTRY,
)
SHARED_FAILURES = Counter(
    "gateway_inference_shared_failures", "Rounds in which providers' state could not be shared.", registry=REGISTRY
)
TOKENS = Counter("gateway_tokens", "Tokens of model responses.", ["model", "direction"], registry=REGISTRY)
WEBHOOK_ATTEMPTS = Counter(
    "gateway_webhook_attempts", "Webhook attempts by what came of them.", ["outcome"], registry=REGISTRY
)
RUNS_ENDED = Counter("gateway_runs_ended", "Runs that ended in this process, by state.", ["state"], registry=REGISTRY)
SPANS = Counter(
    "gateway_spans",
    "Spans of traces by what became of them: exported, failed, dropped.",
    ["outcome"],
    registry=REGISTRY,
)
