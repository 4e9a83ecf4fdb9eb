"""What is logged carries no secret, whatever way it came in."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from django.conf import settings

from gateway_project import logs

SECRET = "agw_9fJ3kLmN2pQrStUvWxYz0123456789abcdefghijk"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What reaches standard error under GATEWAY_LOG_FORMAT=json."""
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers, root.level
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure({"level": "INFO", "format": "json"})
    yield stream
    logs.configure(settings.LOGGING)
    root.handlers, root.level = before, level


@pytest.mark.parametrize(
    "text",
    [
        f"GET /v1/sessions/a/ws?api_key={SECRET}&since=1",
        f"Authorization: Bearer {SECRET}",
        f"X-API-Key: {SECRET}",
        f'{{"token": "{SECRET}"}}',
        f"the key {SECRET} was refused",
        f"POST /v1/callbacks/{SECRET}",
    ],
)
def test_a_secret_inside_a_text_is_replaced(text: str) -> None:
    assert SECRET[8:] not in logs.redact(text)


def test_a_secret_is_replaced_by_the_name_it_stands_under() -> None:
    event = {"headers": {"X-API-Key": "mine", "Cookie": "sessionid=1"}, "nested": [{"password": "mine"}], "path": "/v1"}
    redacted = {"headers": {"X-API-Key": "[redacted]", "Cookie": "[redacted]"}, "nested": [{"password": "[redacted]"}]}
    assert logs.redact(event) == {**redacted, "path": "/v1"}


def test_what_is_no_secret_stays() -> None:
    assert logs.redact("12 tokens for run_01 in /v1/sessions/a") == "12 tokens for run_01 in /v1/sessions/a"
    assert logs.redact({"tokens": 12, "token": ""}) == {"tokens": 12, "token": ""}


def test_the_gateways_own_lines_and_the_librarys_take_one_form(written: io.StringIO) -> None:
    structlog.get_logger("gateway.test").info("request", status=200, authorization=f"Bearer {SECRET}")
    logging.getLogger("somebody").warning("asked with ?api_key=%s", SECRET)
    own, foreign = map(json.loads, written.getvalue().splitlines())
    assert (own["event"], own["status"], own["level"], own["authorization"]) == ("request", 200, "info", "[redacted]")
    assert (foreign["logger"], foreign["event"]) == ("somebody", "asked with ?api_key=[redacted]")


def test_a_secret_in_a_traceback_is_replaced(written: io.StringIO) -> None:
    try:
        raise ValueError(f"refused api_key={SECRET}")
    except ValueError:
        structlog.get_logger("gateway.test").exception("failed")
    line = json.loads(written.getvalue())
    assert "ValueError" in line["exception"]
    assert SECRET not in line["exception"]
