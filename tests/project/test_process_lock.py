"""Deployments for one process refuse a second one before it does anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings

from gateway_project.process.process_lock import AlreadyServed, lock_database, lock_deployment, lock_directory

distributed = pytest.mark.skipif(not settings.GATEWAY_DATABASE_URL, reason="needs PostgreSQL")


def test_a_second_process_on_a_data_directory_is_refused_by_name_of_the_first(tmp_path: Path) -> None:
    first = lock_directory(tmp_path)
    with pytest.raises(AlreadyServed, match="GATEWAY_DATA_DIR"):
        lock_directory(tmp_path)
    first.release()
    lock_directory(tmp_path).release()


@override_settings(GATEWAY_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", GATEWAY_REDIS_URL="redis://127.0.0.1:1")
def test_a_distributed_deployment_needs_no_lock() -> None:
    assert lock_deployment() is None


@distributed
def test_a_second_process_on_postgresql_without_redis_is_refused() -> None:
    first = lock_database(settings.GATEWAY_DATABASE_URL)
    with pytest.raises(AlreadyServed, match="GATEWAY_REDIS_URL"):
        lock_database(settings.GATEWAY_DATABASE_URL)
    first.release()
