"""The script of docs/platform-api.md applies a plan, and applied again changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.served import gateway_served

PAGE = Path(__file__).parents[3] / "docs/platform-api.md"
FILE = re.compile(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(300)
def test_the_documented_script_applies_its_plan_once(tmp_path: Path) -> None:
    files = dict(FILE.findall(PAGE.read_text(encoding="utf-8")))
    assert set(files) == {"plan.json", "apply.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    served = tmp_path / "served"
    served.mkdir()
    with gateway_served(served) as server:
        environment = {**os.environ, "AGENT_GATEWAY_URL": server.url, "AGENT_GATEWAY_API_KEY": server.keys["owner"]}

        def apply() -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "apply.py", "plan.json"]
            return subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
            )

        first, again = apply(), apply()
        assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
        assert re.fullmatch(r"acme builds agw_\S+\n", first.stdout)
        assert again.stdout == ""
        assert "201 PUT /tenants/acme" in first.stderr
        assert "201" not in again.stderr
        plan = json.loads(files["plan.json"])
        plan["tenants"]["acme"]["settings"]["rmp"] = 1
        (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        wrong = apply()
        assert wrong.returncode == 1
        assert "Did you mean rpm?" in wrong.stderr
        assert "settings.rmp" in wrong.stderr
