"""Log lines contain no secrets, and have one form."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime

import pytest
import structlog
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.test import RequestFactory
from structlog.contextvars import bound_contextvars

from core_app.jsontext import encode_text
from core_app.log_lines import log_fast
from core_app.visible_text import is_hidden
from edge_app.gate.request import GateRequest
from gateway_project.observability import logs

SECRET = "agw_9fJ3kLmN2pQrStUvWxYz0123456789abcdefghijk"


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The standard error of a process with GATEWAY_LOG_FORMAT=json."""
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


def test_the_gateways_own_lines_and_the_librarys_take_one_form(stderr: io.StringIO) -> None:
    structlog.get_logger("gateway.test").info("request", status=200, authorization=f"Bearer {SECRET}")
    logging.getLogger("somebody").warning("asked with ?api_key=%s", SECRET)
    own, foreign = map(json.loads, stderr.getvalue().splitlines())
    assert (own["event"], own["status"], own["level"], own["authorization"]) == ("request", 200, "info", "[redacted]")
    assert (foreign["logger"], foreign["event"]) == ("somebody", "asked with ?api_key=[redacted]")


def test_a_secret_in_a_traceback_is_replaced(stderr: io.StringIO) -> None:
    try:
        raise ValueError(f"refused api_key={SECRET}")
    except ValueError:
        structlog.get_logger("gateway.test").exception("failed")
    line = json.loads(stderr.getvalue())
    assert "ValueError" in line["exception"]
    assert SECRET not in line["exception"]


def test_a_request_that_django_logs_is_written_without_its_query(stderr: io.StringIO) -> None:
    request = RequestFactory().get("/admin/", {"next": "what-somebody-typed", "api_key": SECRET})
    logging.getLogger("django.security.csrf").warning("Refused: %s", "/admin/", extra={"request": request})
    line = stderr.getvalue()
    assert "Refused: /admin/" in line
    assert "what-somebody-typed" not in line
    assert SECRET[8:] not in line


def test_what_is_no_text_is_redacted_in_the_form_that_is_written(stderr: io.StringIO) -> None:
    structlog.get_logger("gateway.test").warning("failed", error=ConnectionError(f"redis://:pass-word@host, {SECRET}"))
    assert "pass-word" not in stderr.getvalue()
    assert SECRET[8:] not in stderr.getvalue()


def test_lines_of_requests_are_written_together_and_before_what_comes_after_them(stderr: io.StringIO) -> None:
    with bound_contextvars(session_id="ses_1"):
        log_fast(logging.getLogger("gateway.access"), logging.INFO, "request", status=200, path="/v1/messages")
    log_fast(logging.getLogger("gateway.access"), logging.DEBUG, "request", status=201, path="/healthz")
    log_fast(logging.getLogger("gateway.access"), logging.INFO, "request", status=202, path=f"/v1/callbacks/{SECRET}")
    assert not stderr.getvalue()
    structlog.get_logger("gateway.test").info("later")
    first, second, later = map(json.loads, stderr.getvalue().splitlines())
    assert (first["event"], first["status"], first["session_id"]) == ("request", 200, "ses_1")
    assert (first["logger"], first["level"]) == ("gateway.access", "info")
    assert datetime.fromisoformat(first["timestamp"]).tzinfo is not None
    assert second["path"] == "/v1/callbacks/[redacted]"
    assert later["event"] == "later"


def test_lines_of_requests_are_written_when_the_process_ends(stderr: io.StringIO) -> None:
    log_fast(logging.getLogger("gateway.access"), logging.INFO, "request", status=200)
    logging.getLogger().handlers[0].flush()
    assert json.loads(stderr.getvalue())["status"] == 200


def test_a_line_of_a_request_is_rendered_for_people_too(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO) -> None:
    monkeypatch.setattr("sys.stderr", stderr)
    logs.configure({"level": "INFO", "format": "console"})
    fields = {"method": "POST", "path": "/v1/sessions", "status": 400, "ms": 3.3, "tenant": "default"}
    log_fast(logging.getLogger("gateway.access"), logging.INFO, "request", **fields, request_id="req_1", token=SECRET)
    line = stderr.getvalue()
    assert re.fullmatch(r"\d\d:\d\d:\d\d 400 POST /v1/sessions 3 ms default req_1 token=\[redacted\]\n", line), line
    structlog.get_logger("gateway.test").warning("provider_refused", provider="deepseek")
    other = stderr.getvalue().removeprefix(line)
    assert re.match(r"\d\d:\d\d:\d\d \[warning\] provider_refused", other), other


@pytest.mark.parametrize(
    ("status", "level"), [(200, "info"), (404, "info"), (500, "error"), (502, "warning"), (503, "warning")]
)
def test_a_request_that_the_gateway_failed_is_no_information_only(stderr: io.StringIO, status: int, level: str) -> None:
    request = GateRequest({"type": "http", "method": "GET", "path": "/v1/models", "headers": []}, "req_1")
    request.status = status
    request.log()
    logging.getLogger().handlers[0].flush()
    line = json.loads(stderr.getvalue())
    assert (line["status"], line["level"]) == (status, level)


def test_lines_of_requests_and_others_have_one_form(stderr: io.StringIO) -> None:
    log_fast(logging.getLogger("gateway.access"), logging.INFO, "request", status=200)
    structlog.get_logger("gateway.test").info("later", value=1)
    logging.getLogger("foreign").warning("one more")
    lines = stderr.getvalue().splitlines()
    assert all(line == encode_text(json.loads(line)) for line in lines)


def test_a_503_is_said_by_its_cause_and_not_by_django_too(stderr: io.StringIO) -> None:
    django = logging.getLogger("django.request")
    django.error("Service Unavailable: %s", "/v1/sessions", extra={"status_code": 503})
    django.error("Internal Server Error: %s", "/admin/", extra={"status_code": 500})
    assert [json.loads(line)["status_code"] for line in stderr.getvalue().splitlines()] == [500]


@pytest.mark.parametrize("kind", ["DisallowedHost", "DisallowedModelAdminLookup", "csrf"])
def test_what_django_refuses_as_suspicious_is_a_warning_without_a_traceback(stderr: io.StringIO, kind: str) -> None:
    try:
        raise SuspiciousOperation("Invalid HTTP_HOST header: 'a b'.")
    except SuspiciousOperation as error:
        logging.getLogger(f"django.security.{kind}").error(str(error), exc_info=error)
    (line,) = [json.loads(text) for text in stderr.getvalue().splitlines()]
    assert (line["level"], line["event"]) == ("warning", "Invalid HTTP_HOST header: 'a b'.")
    assert "exception" not in line


def test_nothing_in_a_line_commands_the_terminal_that_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """structlog quotes a value with blanks and shows others as they are."""
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers, root.level
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure({"level": "INFO", "format": "console"})
    try:
        structlog.get_logger("gateway.test").info("request", path="/\x1b[2J/\u202ex", other="with blanks \x1b]0;x\x07")
        logging.getLogger("django.request").warning("Not Found: /\x1b[31m\x9b")
        try:
            raise ValueError("\x1b[2J")
        except ValueError:
            logging.getLogger("gateway.test").exception("failed")
    finally:
        logs.configure(settings.LOGGING)
        root.handlers, root.level = before, level
    text = stream.getvalue()
    assert "\\u001b[2J" in text
    assert {character for character in text if is_hidden(character)} == set()
