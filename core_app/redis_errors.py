"""What Redis fails with, for those who go on without it; an embedded gateway never loads its library."""

from __future__ import annotations

from functools import cache

from django.utils.module_loading import import_string


@cache
def redis_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """To be caught, with `others`: errors of its library and of the network. Asked when something was raised, not
    before."""
    return (*others, import_string("redis.exceptions.RedisError"), OSError, TimeoutError)
