"""Imports libraries without the optional dependencies that they load wherever these are installed.

A start is imports and little else, and this saves a fifth of an embedded one: 0.69 s to the first response instead of
0.89 s, as `python -m tests.benchmarks start_up` measures it. The libraries are imported once, here, before any other
module imports them; the hidden modules can be imported again afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def absent(*modules: str) -> Iterator[None]:
    """Hides modules that are not imported yet: in the block a library that can do without them takes them for not
    installed."""
    hidden = [name for name in modules if name not in sys.modules]
    # `None` in `sys.modules` makes an import fail.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def load_logging() -> None:
    """Imports structlog without rich's tracebacks and without its loggers for Twisted."""
    with absent("rich", "structlog.twisted"):
        import_module("structlog")


def load(*, redis: bool) -> None:
    """Imports the libraries that need Django's settings: REST framework, without its test client and PostgreSQL's
    fields, and throttled without Redis. With `redis` Redis's library is imported, without OpenTelemetry's metrics."""
    with absent("requests", "django.contrib.postgres.fields"):
        import_module("rest_framework.compat")
    if redis:
        with absent("opentelemetry.sdk.metrics"):
            import_module("redis")
        return
    with absent("redis"):
        import_module("throttled")
