"""docs/protocol-agentmesh.md says what the code does, and its examples run."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

import pytest
import yaml
from django.conf import settings

from faces.mesh import artifacts, errors, events, removal, rules, terms
from tests.conftest import Caller
from tests.faces.native.conftest import server
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import WAIT

__all__ = ["server"]

TEXT = (settings.BASE_DIR / "docs" / "protocol-agentmesh.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    body = TEXT[TEXT.index(f"\n## {title}\n") :]
    return body[: body.find("\n## ", 4)] if "\n## " in body[4:] else body


def first_cells(text: str) -> set[str]:
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return {word for row in rows for word in re.findall(r"`([A-Za-z_.]+)`", row.split("|")[1])}


def test_every_event_is_documented_and_no_other() -> None:
    documented = first_cells(section("Live events")) - {"type"}
    assert documented == events.RESERVED_TYPES - {"broadcast"} | {"events_dropped"}


def test_every_error_code_is_documented_and_no_other() -> None:
    assert first_cells(section("Errors")) == set(errors.CODES._codes.values())
    codes = {errors.TASK_FAILED, errors.EXECUTION_ERROR, errors.TIMEOUT, errors.CANCELLED}
    assert codes <= first_cells(section("Tasks"))


def test_the_limits_are_the_codes() -> None:
    assert artifacts.MAX_BYTES == 8 * 1024 * 1024
    assert "at most 8 MiB" in TEXT
    assert f"first {terms.MAX_CHARACTERS:,} characters" in TEXT
    assert f"up to {removal.EVENT_DAYS} days" in TEXT


def test_the_configuration_of_the_page_is_valid() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
    (routing,) = [block["routing"] for block in blocks if "routing" in block]
    assert [entry.name for entry in rules._parse(routing).rules] == ["reviews", "votes"]


@pytest.mark.django_db(transaction=True)
async def test_the_examples_run(server: LiveServer, owner: Caller, script: Any) -> None:
    examples = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).replace('"demo"', '"one"')
    address = f"http://127.0.0.1:{server.port}"
    environment = {**os.environ, "GATEWAY": address, "KEY": owner.secret, "no_proxy": "*"}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", examples), env=environment, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(WAIT):
        output, _ = await process.communicate()
    assert process.returncode == 0, output
    shown = output.decode()
    for expected in ('"pipeline_id":', "plan.txt", "The deployment is at noon.", '"type":"task_status"'):
        assert expected in shown, shown
