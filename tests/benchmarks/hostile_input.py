"""Processor time of one thread for a tenant's worst schemas, arguments and pages, and what others wait beside hostile
clients (`hostile_clients`).

Only the check of arguments holds the interpreter lock for all of its time, so its figure has the loop's budget. Tests
show what is refused and in how many steps; this measures the time of the steps.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest
from tests.benchmarks import hostile_clients
from tests.benchmarks.figures import Figure
from tests.loop_watch import LIMIT
from tests.tools.test_page_text import ENDLESS, MEBIBYTE
from tests.tools.test_schema import BAD, SLOW, listed
from tools_app import schema
from tools_app.executors.page_text import page_text
from tools_app.schema_cost import MAX_WORK

ROUNDS = 3
DECODED = "[" + "7," * (MEBIBYTE // 2) + "7]"


async def measure() -> AsyncIterator[Figure]:
    beside = milliseconds(lambda: jsontext.decode(DECODED))
    for name, most, budget in (
        ("arguments checked, the longest that is let through", max(map(check_arguments, SLOW)), LIMIT * 1000),
        ("arguments refused before they are checked, the longest", max(map(refuse, SLOW)), None),
        ("schema refused, the longest", max(map(schema_refused, BAD)), None),
        ("a page of 1 MiB of markup that never ends, the longest", max(map(page_read, ENDLESS)), None),
    ):
        yield Figure(name, most, "ms", beside, "1 MiB of JSON decoded", budget)
    async for figure in hostile_clients.measure():
        yield figure


def check_arguments(name: str) -> float:
    """Checks arguments with as many values as are accepted."""
    item, values = SLOW[name]
    parameters = schema.schema_check(listed(item))
    least, most = 0, len(values)
    while most - least > 1:
        middle = (least + most) // 2
        let_through = schema._work(parameters, {"list": values[:middle]}) <= MAX_WORK
        least, most = (middle, most) if let_through else (least, middle)
    validator, most_taken = schema._validator(parameters), {"list": values[:least]}
    return milliseconds(lambda: validator.is_valid(most_taken))


def refuse(name: str) -> float:
    item, values = SLOW[name]
    parameters = schema.schema_check(listed(item))
    return milliseconds(lambda: schema.violation(parameters, {"list": values}))


def schema_refused(name: str) -> float:
    def ask() -> None:
        try:
            schema.schema_check(BAD[name])
        except BadRequest:
            return

    return milliseconds(ask)


def page_read(piece: str) -> float:
    page = piece * (MEBIBYTE // len(piece))
    return milliseconds(lambda: page_text(page))


def milliseconds(work: Callable[[], Any]) -> float:
    """Returns the shortest of a few rounds, without garbage collection."""
    taken = []
    gc.disable()
    try:
        for _ in range(ROUNDS):
            began = time.thread_time()
            work()
            taken.append(time.thread_time() - began)
    finally:
        gc.enable()
    return min(taken) * 1000
