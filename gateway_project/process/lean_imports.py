"""Libraries without what they load beside themselves wherever it is installed, for parts that nothing here uses.

A start is imports and little else. So these are loaded once, here, before anybody else asks for them; what is hidden
from them is there again afterwards. Of an embedded start that is a fifth: redis 0.09 s, psycopg 0.07 s, rich 0.04 s,
requests 0.03 s, Twisted 0.02 s.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def absent(*modules: str) -> Iterator[None]:
    """Inside, those that are not loaded yet cannot be imported; a library that can do without takes them for
    not installed."""
    hidden = [name for name in modules if name not in sys.modules]
    # What `None` is for in there.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def load_logging() -> None:
    """structlog, which prefers rich's tracebacks and has loggers for Twisted."""
    with absent("rich", "structlog.twisted"):
        import_module("structlog")


def load(*, redis: bool) -> None:
    """What needs Django's settings: REST framework, which brings a client for tests and fields of PostgreSQL's own;
    and what counts requests, which knows Redis. With `redis` that is loaded too, without metrics of itself."""
    with absent("requests", "django.contrib.postgres.fields"):
        import_module("rest_framework.compat")
    if redis:
        with absent("opentelemetry.sdk.metrics"):
            import_module("redis")
        return
    with absent("redis"):
        import_module("throttled")
