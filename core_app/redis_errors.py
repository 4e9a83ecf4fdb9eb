"""The exceptions of an unreachable Redis, without importing its library: an embedded gateway never loads it."""

from __future__ import annotations

from functools import cache

from django.utils.module_loading import import_string


@cache
def redis_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Returns `others` and the errors of Redis's library and of the network, for an `except` clause. The clause is
    evaluated only when something was raised, and only then the library is imported."""
    return (*others, import_string("redis.exceptions.RedisError"), OSError, TimeoutError)
