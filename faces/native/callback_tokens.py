"""The credential of a callback's late result: the token in the path of its `resultUrl`, checked before the body is
read.

A wrong token gets 404, and after some of them in a minute 429. Neither costs more than a look-up in an index. Good
tokens are not limited, whatever others do at the same address.
"""

from __future__ import annotations

import re

from core_app import database
from core_app.addresses import client_group
from core_app.errors import NotFound, RateLimited
from core_app.metrics import RATE_LIMITED
from edge_app.http.asgi import Scope
from tenants_app.limits import RATE_LIMITS
from tools_app.calls import token_known
from tools_app.executors.callback import RESULT_PATH

UNKNOWN_PER_MINUTE = 60
"""Unknown tokens of one client address."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}\Z")


async def callback_token_check(scope: Scope) -> None:
    """Raises NotFound or RateLimited for a token of no call."""
    token = scope["path"].removeprefix(RESULT_PATH)
    if _TOKEN.match(token) is not None and await database.run(token_known, token):
        return
    address = client_group((scope.get("client") or ("",))[0])
    limit = await RATE_LIMITS.take_from(f"callbacks {address}", UNKNOWN_PER_MINUTE)
    if limit.limited:
        RATE_LIMITED.inc()
        raise RateLimited("This address has tried too many tokens; try again later.", retry_after=limit.retry_after)
    raise NotFound("No call waits for a result at this address.")
