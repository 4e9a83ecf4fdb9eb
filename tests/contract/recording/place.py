"""The gateway whose wire is recorded: one process on a database of its own, a scripted provider, and a receiver.

Nothing here knows the gateway's code: its settings, its wire and the names of its tables are all that is used.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.api.served import WithExtra
from tests.stack.conftest import deployment_of
from tests.stack.process import ROOT, GatewayProcess

WAIT = 60.0
"""Seconds that anything may take; nothing takes a tenth of it unless something is wrong."""

KEYS = {
    "owner": "owner-key",
    "colleague": "colleague-key",
    "limited": "limited-key",
    "revoked": "revoked-key",
    "stranger": "stranger-key",
    "poor": "poor-key",
    "small": "small-key",
    "crowd": "crowd-key",
}
TENANTS = {"stranger": "rival", "poor": "poor", "small": "small", "crowd": "crowd"}
"""Whose key is of another tenant than the default one."""


def _hash(who: str) -> str:
    return hashlib.sha256(KEYS[who].encode()).hexdigest()


REVOKE = f"UPDATE tenants_app_apikey SET revoked_at = created_at WHERE secret_hash = '{_hash('revoked')}'"
"""Ends the key of `revoked`."""

_TENANT = "INSERT INTO tenants_app_tenant (slug, name, settings, created_at) VALUES"
BEFORE = (
    f"{_TENANT} ('poor', 'poor', '{{}}', '2026-01-01 00:00:00')",
    f"""{_TENANT} ('small', 'small', '{{"max_sessions": 1, "max_waiting": 1}}', '2026-01-01 00:00:00')""",
    "INSERT INTO inference_app_budget (updated_at, model, period, tokens, tenant_id)"
    " SELECT '2026-01-01 00:00:00', '', 'day', 0, id FROM tenants_app_tenant WHERE slug = 'poor'",
)
"""The rows of the database before the first start."""

AFTER = (
    f"UPDATE tenants_app_apikey SET scopes = '[]' WHERE secret_hash = '{_hash('colleague')}'",
    f"UPDATE tenants_app_apikey SET rpm = 1 WHERE secret_hash = '{_hash('limited')}'",
)
"""The changes to it once the keys are there."""

SETTINGS = {
    "API_KEYS": ",".join(f"{key}:{TENANTS[who]}" if who in TENANTS else key for who, key in KEYS.items()),
    "KEY_CACHE_SECONDS": "0",
    "HEARTBEAT_SECONDS": "0.5",
    "LEASE_SECONDS": "60",
    "SWEEP_SECONDS": "60",
    "DRAIN_SECONDS": "1",
    "MAX_QUEUED_PROMPTS": "2",
    "MAX_FOLLOWERS_PER_TENANT": "16",
    "MAX_BODY_BYTES": "20000",
    "CORS_ORIGINS": "https://app.example.com",
    "BANNED_WORDS": "",
    # Whatever programs this machine has.
    "AGENT_CHECK_SECONDS": "0",
}

CONFIG = """
agents:
  - {{id: demo, name: Demo, type: model, model: "demo:tour"}}
models:
  providers:
    scripted:
      base_url: "{url}"
      api_key_env: RECORDED_UPSTREAM_KEY
      models:
        - {{id: hello, price: {{input: 1000000, output: 2000000, cached: 0}}}}
        - {{id: "context-full:600", context_window: 100000}}
    second: {{base_url: "{url}", api_key: none}}
    messages: {{base_url: "{root}", api_key: none, wire: anthropic}}
    everything: {{base_url: "{url}", api_key: none, also: [openai-responses, anthropic]}}
    keyless: {{base_url: "{url}", api_key_env: NO_SUCH_KEY}}
    closed: {{base_url: "http://127.0.0.1:9/v1", api_key: none}}
  model_routing: {{locked: [keyless]}}
  model_aliases:
    hello: "scripted:hello"
    resilient: [{{model: "second:status:500", weight: 1000000}}, {{model: "scripted:hello", weight: 0}}]
  defaults:
    retry: {{max_retries: 0, base_delay_ms: 0, max_delay_ms: 1000}}
    circuit_breaker: {{failure_threshold: 100000}}
    rate_limit:
      "/v1/chat/completions": {{rpm: 1}}
      "/v1/embeddings": {{rpm: 1}}
      "/v1/messages": {{rpm: 1}}
      "/v1/responses": {{rpm: 1}}
"""


@dataclass(frozen=True)
class Place:
    """The directory of everything."""

    process: GatewayProcess
    receiver: Receiver
    config: Path

    @property
    def port(self) -> int:
        return self.process.port

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Returns the committed rows that a query finds."""
        return self.process.deployment.rows(query, parameters)

    def until(self, true: Callable[[], bool]) -> None:
        """Until `true()`, asked again and again: for what has no event to wait for."""
        end = time.monotonic() + WAIT
        while not true():
            assert time.monotonic() < end, "nothing came of it"

    def limits_raise(self) -> None:
        """Changes the configuration of one request a minute on each path, which is in force some seconds later."""
        new = self.config.with_suffix(".new")
        new.write_text(self.config.read_text(encoding="utf-8").replace("rpm: 1}", "rpm: 60000}"), encoding="utf-8")
        new.replace(self.config)

    def write(self, statement: str) -> None:
        """Changes what is committed."""
        self.process.deployment.write(statement)


@dataclass(frozen=True)
class Delivered:
    """A request that the gateway made."""

    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes


class Receiver:
    """A server that callbacks and webhooks are sent to; `/later` takes a call, `/broken` refuses, others answer."""

    def __init__(self) -> None:
        self._came: queue.Queue[Delivered] = queue.Queue()
        came = self._came

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                came.put(Delivered(self.path, list(self.headers.items()), body))
                status = {"/later": 202, "/broken": 418}.get(self.path, 200)
                answer = b'{"result": {"found": [1, "two"]}}' if status == 200 else b""
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def next(self) -> Delivered:
        """The next request."""
        return self._came.get(timeout=WAIT)

    def end(self) -> None:
        """Nothing listens any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT)


@contextmanager
def place_started(directory: Path) -> Iterator[Place]:
    """The gateway from its start to its end, with everything around it."""
    with ExitStack() as stack:
        url = stack.enter_context(_provider())
        receiver = Receiver()
        stack.callback(receiver.end)
        config = directory / "gateway.yaml"
        config.write_text(CONFIG.format(url=url, root=url.removesuffix("/v1")), encoding="utf-8")
        data = directory / "data"
        data.mkdir()
        deployment = deployment_of(data, stack, CONFIG=str(config), **SETTINGS)
        for statement in BEFORE:
            deployment.write(statement)
        extra = {"RECORDED_UPSTREAM_KEY": "sk-upstream-secret-key"}
        process = GatewayProcess(WithExtra(**vars(deployment), extra=extra), "recorded")
        stack.callback(process.end)
        asyncio.run(process.start())
        for statement in AFTER:
            deployment.write(statement)
        yield Place(process, receiver, config)


@contextmanager
def _provider() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.contract.recording.provider"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()
