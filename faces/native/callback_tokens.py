"""The credential of a callback's late result: the token in the path of its `resultUrl`, checked before the body is
read. A wrong one gets 404, and counts as a wrong key of its address."""

from __future__ import annotations

import re

from core_app import database
from core_app.errors import NotFound, Unauthorized
from edge_app.gate.failed_keys import FAILED_KEYS
from edge_app.http.asgi import Scope
from tools_app.calls import token_known
from tools_app.executors.callback import RESULT_PATH

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}\Z")


async def callback_token_check(scope: Scope) -> None:
    """Raises NotFound for a token of no call, and RateLimited when the address has sent too many."""
    token = scope["path"].removeprefix(RESULT_PATH)

    async def look_up() -> bool:
        if _TOKEN.match(token) is None or not await database.run(token_known, token):
            raise Unauthorized("No call waits for a result at this address.")
        return True

    try:
        await FAILED_KEYS.check(scope, token, look_up)
    except Unauthorized as unknown:
        raise NotFound(unknown.message) from None
