"""Requests of the official clients, and their conversions to every other wire, stay as they were looked at and kept."""

from __future__ import annotations

import json

import pytest

from tests.conversion.building import Json
from tests.conversion.requests_of_clients import CASES, GOLDEN, caught, conversions


def golden(name: str) -> Json:
    kept: Json = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return kept


@pytest.mark.parametrize("name", CASES)
def test_a_client_still_sends_what_was_kept(name: str) -> None:
    assert caught(name) == golden(name)["request"]


@pytest.mark.parametrize("name", CASES)
def test_a_clients_request_is_converted_as_it_was(name: str) -> None:
    kept = golden(name)
    assert conversions(name, kept["request"]) == kept["converted"]


def test_every_kept_request_belongs_to_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(CASES)
