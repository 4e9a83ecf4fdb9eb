"""Fills an empty deployment with stored responses: the child of `responses`.

`python -m tests.benchmarks.response_rows RESPONSES CHAIN` stores RESPONSES responses without a predecessor and a chain
of CHAIN ones, and prints the newest of the chain, one of the others, the time of a list, and the sizes of rows and of
the chain's history.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import django

TEXT = "a few words of a conversation that goes on and on " * 8
USER = {"role": "user", "content": TEXT}
ANSWER = {
    "type": "message",
    "id": "msg_01m7yjkz1pfx5vtjxvwhecsc47",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
}


PAGE, LISTED = 100, 30


def listing_ms(tenant_id: int) -> float:
    """Returns the median time in which the newest responses of a tenant are listed, as the admin does."""
    from responses_app.models import StoredResponse

    rows = StoredResponse.objects.filter(tenant_id=tenant_id).defer("input", "output", "body", "request")
    taken = []
    for _ in range(LISTED):
        began = time.perf_counter()
        assert len(rows.order_by("-id")[:PAGE]) == PAGE
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken)[LISTED // 2]


def main() -> None:
    django.setup()
    from responses_app.models import StoredResponse
    from tenants_app.models import Tenant

    responses, chain = map(int, sys.argv[1:])
    tenant = Tenant.objects.get(slug="default")
    own: dict[str, Any] = {"tenant": tenant, "status": "completed", "model": "bench:m", "body": '{"object":"response"}'}
    own |= {"input": json.dumps([USER]), "output": json.dumps([ANSWER])}
    StoredResponse.objects.bulk_create(
        (StoredResponse(public_id=f"resp_other{number}", **own) for number in range(responses)), batch_size=500
    )
    StoredResponse.objects.bulk_create(
        StoredResponse(
            public_id=f"resp_chain{number}", previous_id=f"resp_chain{number - 1}" if number else None, **own
        )
        for number in range(chain)
    )
    history = [USER, ANSWER] * chain
    stored = (len(own["input"]) + len(own["output"])) * chain
    print(
        json.dumps(
            {
                "listed": listing_ms(tenant.pk),
                "newest": f"resp_chain{chain - 1}",
                "other": "resp_other7",
                "stored": stored,
                "history": len(json.dumps(history)),
                "input": history,
            }
        )
    )


if __name__ == "__main__":
    main()
