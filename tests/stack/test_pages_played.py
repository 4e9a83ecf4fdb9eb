"""The pages of docs/ as a newcomer types them: every printed command and example runs in a test, or says why not.

Whole pages have tests of their own, which `PLAYED` names. What remains runs here, against a real process, without a
network.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from core_app import config_file
from core_app.config_file import section_paths, sections_load
from tests.settings import DEPLOYMENT
from tests.stack.checkout import checkout_prepare
from tests.stack.conftest import Start
from tests.stack.deployment import Deployment

ROOT = Path(__file__).parents[2]
KEY = "my-key-of-20-characters"
ADDRESS = "127.0.0.1:4000"
SECONDS = 120
LANGUAGES = ("sh", "python", "js", "html", "yaml", "json", "toml", "nginx")
"""Blocks in no language are pictures and lines of other files."""

PAGES = ("README.md", "README.zh-CN.md", "gateway_client/README.md", "clients/typescript/README.md")

PLAYED: Mapping[str, str] = {
    "docs/adding-a-face.md": "tests/edge/test_adding_a_face.py",
    "docs/adding-an-engine.md": "tests/agents/test_adding_an_engine.py",
    "docs/command-line.md": "tests/client/cli/test_documented.py",
    "docs/gateway-yaml.md": "tests/project/test_gateway_yaml_documented.py",
    "docs/platform-api.md": "tests/faces/platform/test_plan_script.py",
    "docs/protocol-agentbus.md": "tests/faces/agentbus/test_snippets.py",
    "docs/protocol-agentmesh.md": "tests/faces/mesh/test_documented.py",
    "docs/protocol-codelab.md": "tests/stack/test_codelab_examples.py",
    "docs/protocol-codelab.ru.md": "tests/stack/test_codelab_examples.py",
    "docs/ten-requests.md": "tests/stack/test_ten_requests.py",
}
"""Pages whose every block is played by one module."""

PLAYED_BLOCKS: Mapping[tuple[str, str], str] = {
    ("README.md", "sessions/first/events"): "tests/stack/test_readme.py",
    ("README.md", "DEEPSEEK_API_KEY"): "tests/stack/test_newcomer.py",
    ("README.md", "sessions/real"): "tests/stack/test_newcomer.py",
    ("README.md", "make test"): "tests/stack/test_newcomer.py",
    ("README.zh-CN.md", "sessions/first/events"): "tests/stack/test_readme.py",
    ("README.zh-CN.md", "DEEPSEEK_API_KEY"): "tests/stack/test_newcomer.py",
    ("README.zh-CN.md", "sessions/real"): "tests/stack/test_newcomer.py",
    ("README.zh-CN.md", "DASHSCOPE_API_KEY"): "tests/stack/test_newcomer.py",
    ("README.zh-CN.md", "qwen-plus"): "tests/stack/test_newcomer.py",
    ("README.zh-CN.md", "make test"): "tests/stack/test_newcomer.py",
    ("gateway_client/README.md", "url, key, name = sys.argv"): "tests/client/test_readme.py",
    ("gateway_client/README.md", "tasks.run"): "tests/client/test_readme.py",
    ("gateway_client/README.md", "agent-gateway to demo"): "tests/client/cli/test_documented.py",
    ("clients/typescript/README.md", "import { Conflict"): "tests/client/test_javascript.py",
    ("clients/typescript/README.md", "const { requestId }"): "tests/client/test_javascript.py",
    ("clients/typescript/README.md", "tasks.submit"): "tests/client/test_javascript.py",
    ("clients/typescript/README.md", "webhookVerify"): "tests/client/test_javascript.py",
}
"""Blocks of other pages, by a text in them, with the module that plays them. `make run` is played, `make test` is what
runs."""

RUN_HERE = (
    ("docs/agents.md", '"agent":"runtime"'),
    ("docs/conversions.md", "OPENAI_BASE_URL"),
    ("docs/mcp.md", "mcp:files"),
    ("docs/mcp.md", "/v1/mcp-servers"),
    ("docs/operating.md", "gateway key issue"),
    ("docs/operating.md", ".venv/bin/gateway backup"),
    ("docs/webhooks.md", "/v1/webhooks"),
)

LEFT_OUT: Mapping[tuple[str, str], str] = {
    ("docs/console.md", "gateway user role"): "tests/admin/test_roles.py gives and takes roles with the same commands",
    ("docs/console.md", "GATEWAY_OIDC_ISSUER"): "an identity provider; tests/oidc signs in with one",
    ("docs/console.md", "msgfmt"): "a program of gettext; tests/faces/console compares its output",
    ("docs/embed.md", "/v1/embed-tokens"): "tests/faces/native/test_embed.py asks for tokens",
    ("docs/embed.md", "<script"): "another site; tests/faces/native/test_embed.py has the script and the frame",
    ("docs/embed.md", "HTTPServer"): "another site in a browser; it was run by hand",
    ("docs/responses.md", "responses.connect()"): "tests/responses/socket has OpenAI's own client on the socket",
    ("README.md", "agent-gateway chat"): "a conversation at a terminal, which tests/client/cli plays on one",
    ("gateway_client/README.md", "pip install"): "a package registry",
    ("gateway_client/README.md", "GatewayClient("): "a fragment of a coroutine; tests/client/test_rpc.py has its calls",
    ("gateway_client/README.md", "webhook_verify("): "a fragment of a receiver; tests/client/test_webhooks.py has it",
    ("clients/typescript/README.md", "npm install"): "a package registry; tests/client/test_javascript.py packs it",
    ("clients/typescript/README.md", "<script"): "a page; tests/browser/test_javascript_client.py has one",
    ("docs/benchmarks.md", "make bench"): "an hour; tests/project/test_benchmarks_start.py starts it",
    ("docs/conversions.md", "ANTHROPIC_AUTH_TOKEN"): "Claude Code; tests/faces/responses runs it where it is installed",
    ("docs/operating.md", "docker "): "Docker; tests/deploy checks the files and the arguments",
    ("docs/operating.md", "apt-get install"): "root on Debian; tests/deploy checks the files and the arguments",
    ("docs/operating.md", "install -d -m 0700"): "root; the backup itself is run here",
    ("docs/operating.md", "systemctl enable"): "systemd; tests/deploy checks the units",
    ("docs/operating.md", "pip install --require-hashes"): "a package registry and a collector",
    ("docs/operating.md", "pg_basebackup"): "a PostgreSQL server that archives",
    ("docs/operating.md", "pg_dump"): "PostgreSQL's programs; tests/stack/test_backup.py restores a dump",
    ("docs/scaling.md", "$cell_of_bearer"): "nginx in front of cells; tests/core/test_ids_of_cells.py has its patterns",
}


class Block(NamedTuple):
    page: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.text.splitlines()[0][:40]}"


def blocks() -> list[Block]:
    pages = [*PAGES, *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
    return [
        Block(page, language, text)
        for page in pages
        for language, text in re.findall(
            r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
        if language in LANGUAGES
    ]


def block(page: str, mark: str) -> str:
    """Returns the only block of a page with a text in it."""
    (found,) = (one.text for one in blocks() if one.page == page and mark in one.text and one.language == "sh")
    return found


DATA = [one for one in blocks() if one.language in ("yaml", "json", "toml") and one.page not in PLAYED]


@pytest.mark.parametrize("one", blocks(), ids=str)
def test_every_block_runs_or_says_why_not(one: Block) -> None:
    marks = [mark for page, mark in (*PLAYED_BLOCKS, *RUN_HERE, *LEFT_OUT) if page == one.page]
    assert one.page in PLAYED or one in DATA or any(mark in one.text for mark in marks)


def test_no_mark_is_left_of_a_block_that_is_gone() -> None:
    for page, mark in (*PLAYED_BLOCKS, *RUN_HERE, *LEFT_OUT):
        assert any(one.page == page and mark in one.text for one in blocks()), (page, mark)


def test_the_modules_read_the_pages_that_they_play() -> None:
    named = [*PLAYED.items(), *((page, module) for (page, _), module in PLAYED_BLOCKS.items())]
    for page, module in named:
        assert Path(page).name in (ROOT / module).read_text(encoding="utf-8"), (page, module)


@pytest.mark.parametrize("one", DATA, ids=str)
def test_configuration_and_data_are_valid(
    one: Block, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if one.language == "toml":
        assert tomllib.loads(one.text)
    elif one.language == "json":
        assert json.loads(one.text)
    else:
        named = yaml.safe_load(one.text)
        if isinstance(named.get("models"), list):
            named = {"models": {"providers": {"claude": {"base_url": "http://127.0.0.1", "api_key": "none", **named}}}}
        if "scrape_configs" in named:
            return  # Prometheus's own
        assert set(named) <= set(section_paths())
        monkeypatch.setattr(config_file, "CHECK_SECONDS", 0.0)
        settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
        settings.GATEWAY_CONFIG.write_text(yaml.safe_dump(named), encoding="utf-8")
        sections_load()


async def typed(script: str, cwd: Path, **variables: str) -> str:
    """Runs a block in a shell; returns what it printed."""
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    shell = await asyncio.create_subprocess_exec(
        "bash", "-e", "-c", script,
        cwd=cwd, env={**base, "KEY": KEY, **variables}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(shell.communicate(), SECONDS)
    assert shell.returncode == 0, output.decode()
    return output.decode()


CLIENTS = """
import anthropic, openai
for client in (openai.OpenAI(), anthropic.Anthropic()):
    print([model.id for model in client.models.list()])
"""


async def test_the_requests_of_the_pages_run_as_printed(process: Start, deployment: Deployment, tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    documented = [next(one.text for one in DATA if one.page == page and mark in one.text) for page, mark in (
        ("docs/agents.md", "type: remote"), ("docs/mcp.md", "files-server"),
    )]  # fmt: skip
    config.write_text("\n".join(documented), encoding="utf-8")
    own = {"API_KEYS": KEY, "CALLBACK_ALLOW_PRIVATE": "false", "CONFIG": str(config)}
    server = process(of=replace(deployment, settings=own))
    await server.start()

    async def run(page: str, mark: str, more: str = "") -> str:
        return await typed(block(page, mark).replace(ADDRESS, f"127.0.0.1:{server.port}") + more, tmp_path)

    assert '"agent":"runtime"' in await run("docs/agents.md", '"agent":"runtime"')
    assert '"state":"idle"' in await run("docs/mcp.md", "mcp:files")
    assert '"name":"crm"' in await run("docs/mcp.md", "/v1/mcp-servers")
    assert '"secret":"whsec_' in await run("docs/webhooks.md", "/v1/webhooks")
    program = tmp_path / "clients.py"
    program.write_text(CLIENTS, encoding="utf-8")
    listed = await run("docs/conversions.md", "OPENAI_BASE_URL", f"\n{sys.executable} {program}")
    assert listed.count("'demo:tour'") == 2


@pytest.mark.skipif(DEPLOYMENT != "embedded", reason="The lines are those of a checkout without a database server.")
@pytest.mark.skipif(not shutil.which("make"), reason="The checkout is made as `make run` makes it.")
async def test_the_operators_lines_run_as_printed(process: Start, deployment: Deployment, tmp_path: Path) -> None:
    server = process()
    await server.start()
    server.end()
    checkout = checkout_prepare(tmp_path / "agent-gateway")
    state = {
        "GATEWAY_DATA_DIR": str(deployment.directory),
        "GATEWAY_SECRET_KEY": "not-a-secret-of-anything-but-these-tests",
    }
    issued = await typed(block("docs/operating.md", "gateway key issue"), checkout, **state)
    assert re.search(r"^agw_\S+$", issued, re.MULTILINE)
    assert "Copied" in await typed(block("docs/operating.md", ".venv/bin/gateway backup"), checkout, **state)
    assert list((checkout / "backups/2026-01-31").iterdir())
