"""The settings under test: a deployment of its own, untouched by the developer's environment and `.env`.

GATEWAY_TEST_DEPLOYMENT is `embedded` (SQLite, in-memory layer; the default) or `distributed` (PostgreSQL at
GATEWAY_TEST_DATABASE_URL, Redis at GATEWAY_TEST_REDIS_URL, else their standard local ports).
"""

from __future__ import annotations

import os
import tempfile
from urllib.parse import urlsplit, urlunsplit
from zlib import crc32

DEPLOYMENT = os.environ.get("GATEWAY_TEST_DEPLOYMENT", "embedded")


def own_redis(url: str) -> str:
    """Returns `url`, or another database of the same server for a process of several that test at once."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    parts = urlsplit(url)
    number = int(parts.path.strip("/") or 0) + worker
    return urlunsplit(parts._replace(path=f"/{number}"))


for name in [name for name in os.environ if name.startswith("GATEWAY_") and not name.startswith("GATEWAY_TEST_")]:
    if name not in ("GATEWAY_REQUIRE_SERVICES", "GATEWAY_RECORD"):
        del os.environ[name]
os.environ["GATEWAY_ENV_FILE"] = os.devnull
os.environ["GATEWAY_DATA_DIR"] = tempfile.mkdtemp(prefix="gateway-test-")
os.environ["GATEWAY_SECRET_KEY"] = "not-a-secret-of-anything-but-these-tests"
if DEPLOYMENT == "distributed":
    os.environ["GATEWAY_DATABASE_URL"] = os.environ.get(
        "GATEWAY_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
    )
    os.environ["GATEWAY_REDIS_URL"] = own_redis(os.environ.get("GATEWAY_TEST_REDIS_URL", "redis://127.0.0.1:6379/0"))

from gateway_project.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if DEPLOYMENT == "distributed":
    # No test here ends PostgreSQL: that is tests/stack's, with a server of its own and the gateway's own settings.
    _database = DATABASES["default"]  # noqa: F405
    # Two checkouts may test at once on one server.
    _database["TEST"] = {"NAME": f"test_gateway_{crc32(os.fsencode(BASE_DIR)):08x}"}  # noqa: F405
    _options = _database["OPTIONS"]
    # A test that holds its transaction open thinks longer than the gateway does between two statements.
    _own = "-c synchronous_commit=off -c idle_in_transaction_session_timeout=60000"
    _options["options"] = f"{_options.get('options', '')} {_own}".strip()

LOGGING_CONFIG = "tests.quiet_logs.configure"

# Nobody watches the demo here.
GATEWAY_DEMO_DELAY_MS = 0

# Tests that want checks of agents call them.
GATEWAY_AGENT_CHECK_SECONDS = 0

# Hundreds of tests with wrong keys have one address; those of the limit set their own.
GATEWAY_FAILED_KEYS_PER_MINUTE = 1_000_000
