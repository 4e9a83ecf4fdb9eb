"""Leases when rows are locked by others, and when they end later than anybody can have wanted."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from core_app.database import database_now, write_transaction
from events_app import lease
from events_app.models import Stream
from sessions_app.legs.lease_keeper import LeaseKeeper
from sessions_app.legs.sweep import sessions_with_work
from tests.events.conftest import Holder, Leased, leased_stream
from tests.settings import DEPLOYMENT

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = pytest.mark.skipif(DEPLOYMENT != "distributed", reason="SQLite locks the database, not rows")


def expires(stream: Leased) -> float:
    return float(Stream.objects.values_list("lease_expires", flat=True).get(pk=stream.pk))


@ROWS
@pytest.mark.parametrize("held", [0, 10, 19])
def test_one_locked_row_costs_no_other_lease(held: int) -> None:
    """Before, nine of twenty were lost behind the tenth, and nineteen behind the first."""
    streams = [leased_stream(seconds=60) for _ in range(20)]
    before = [expires(stream) for stream in streams]
    with Holder(streams[held].pk):
        renewal = lease.leases_renew(fences=[stream.fence for stream in streams], seconds=120)
    assert renewal.unknown == {streams[held].fence}
    assert renewal.renewed == {stream.fence for stream in streams} - renewal.unknown
    longer = [expires(stream) > then for stream, then in zip(streams, before, strict=True)]
    assert [index for index, later in enumerate(longer) if not later] == [held]


@ROWS
def test_a_lease_whose_row_is_locked_is_lost_only_when_it_has_run_out() -> None:
    stream = leased_stream(seconds=60)
    with Holder(stream.pk):
        assert lease.leases_renew(fences=[stream.fence], seconds=60) == (set(), {stream.fence})
    with write_transaction():
        Stream.objects.filter(pk=stream.pk).update(lease_expires=1.0)
    with Holder(stream.pk):
        assert lease.leases_renew(fences=[stream.fence], seconds=60) == (set(), set())


@ROWS
def test_a_skipped_lease_is_asked_for_again_in_the_next_round(settings: Any) -> None:
    settings.GATEWAY_LEASE_SECONDS = 60.0
    keeper, stream = LeaseKeeper(), leased_stream(seconds=60)
    keeper.hold(stream.fence, lambda: None)
    keeper._kept_at[stream.fence] -= 20
    before = expires(stream)
    with Holder(stream.pk):
        assert keeper._look([stream.fence]) == {stream.fence}
    assert expires(stream) == before
    assert keeper._look([stream.fence]) == {stream.fence}
    assert expires(stream) > before
    renewed = expires(stream)
    assert keeper._look([stream.fence]) == {stream.fence}
    assert expires(stream) == renewed


@ROWS
def test_a_row_that_is_hardly_ever_free_is_waited_for(settings: Any) -> None:
    settings.GATEWAY_LEASE_SECONDS = 60.0
    keeper, stream = LeaseKeeper(), leased_stream(seconds=60)
    keeper.hold(stream.fence, lambda: None)
    keeper._kept_at[stream.fence] -= 40
    before = expires(stream)
    with Holder(stream.pk) as holder:
        waiting = threading.Timer(0.02, holder.let_go)
        waiting.start()
        assert keeper._look([stream.fence]) == {stream.fence}
        waiting.join()
    assert expires(stream) > before


def test_leases_are_renewed_in_as_many_statements_however_many_there_are(django_assert_max_num_queries: Any) -> None:
    streams = [leased_stream(seconds=60) for _ in range(10)]
    # On PostgreSQL one, and those of its transaction.
    with django_assert_max_num_queries(3 if connection.vendor == "postgresql" else 13):
        lease.leases_renew(fences=[stream.fence for stream in streams], seconds=60)


def test_a_lease_that_ends_later_than_anybody_can_have_wanted_is_claimable() -> None:
    """After a failover to a database whose clock is behind, a dead worker's lease would live on for the difference."""
    stream = leased_stream(seconds=60)
    assert lease.lease_claim(stream_id=stream.pk, owner="there", seconds=60) is None
    with write_transaction():
        Stream.objects.filter(pk=stream.pk).update(lease_expires=database_now() + 3600)
    assert lease.lease_claim(stream_id=stream.pk, owner="there", seconds=60) is not None
    assert sessions_with_work() == []
