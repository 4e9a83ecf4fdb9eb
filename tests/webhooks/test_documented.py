"""docs/webhooks.md says what the code does: types, pauses, errors, limits and the times that things are kept."""

from __future__ import annotations

import re

from django.conf import settings

from events_app.webhooks import removal, schedule, sender, services
from faces.native.openapi.webhooks import ERRORS
from sessions_app.events import WEBHOOK_EVENTS

TEXT = (settings.BASE_DIR / "docs" / "webhooks.md").read_text(encoding="utf-8")
PLAIN = " ".join(TEXT.split())


def test_every_type_is_listed_and_no_other() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == list(WEBHOOK_EVENTS)


def test_the_pauses_are_those_of_the_schedule() -> None:
    seconds = {"s": 1, "min": 60, "h": 3600}
    said = re.search(r"Tried again after ((?:\d+ (?:s|min|h)(?:, )?)+)", PLAIN)
    assert said is not None
    pauses = re.findall(r"(\d+) (s|min|h)", said[1])
    assert [int(number) * seconds[unit] for number, unit in pauses] == list(schedule.PAUSES)
    assert schedule.LONGEST_PAUSE == 24 * 3600
    assert len(schedule.PAUSES) + 1 == 10


def test_every_error_is_named() -> None:
    paragraph = PLAIN[PLAIN.index("`lastError` of a delivery") : PLAIN.index("## Limits")]
    assert set(re.findall(r"`([a-z_]+)`", paragraph)) == set(ERRORS)


def test_the_limits_are_the_codes() -> None:
    for said in (
        f"{services.MAX_ENDPOINTS} webhooks of a tenant",
        f"{sender.PER_ENDPOINT} attempts at a time for a webhook, {sender.PER_TENANT} for a tenant, "
        f"{sender.IN_FLIGHT} in all",
        f"within {sender.ATTEMPT_SECONDS:.0f} s",
        f"Dead deliveries are kept for {removal.DEAD_KEPT.days} days, delivered ones for {removal.DELIVERED_KEPT.days}",
        f"for {services.FORMER_KEPT.total_seconds() / 3600:.0f} hours each message has two signatures",
    ):
        assert said in PLAIN, said
