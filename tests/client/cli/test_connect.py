"""`connect` and `disconnect` on people's files: what they have besides stays, and comes back to the byte."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway_client.cli.connect.connection import connection_make, connection_plan, connection_undo
from gateway_client.cli.connect.journal import Journal
from gateway_client.cli.connect.json_document import JsonDocument
from gateway_client.cli.connect.programs import PROGRAMS, Program, Target
from gateway_client.errors import GatewayError

TARGET = Target("http://gateway:4000", "the-key-that-is-written", "deepseek-chat", ["deepseek-chat", "qwen3"])
OTHER = Target("https://other.example", "another-key-that-is-written", "qwen3", ["qwen3"])


@dataclass(frozen=True)
class Files:
    """The files of one program: contents to begin with, what somebody adds, and the values that must be there."""

    contents: tuple[str, ...]
    added: Callable[[str], str]
    wanted: Mapping[tuple[str, ...], Any]
    parse: Callable[[str], Any]


def json_parse(text: str) -> Any:
    return JsonDocument(text).value()


def after_brace(text: str) -> str:
    return text.replace("{", '{\n  "theirs": [1, {"a": "}"}], // and a remark\n', 1)


def at_the_end(line: str) -> Callable[[str], str]:
    return lambda text: text + ("" if text.endswith("\n") or not text else "\n") + line


CODEX = (
    "",
    '# mine\nmodel = "gpt-5"  # note\n\n[model_providers.other]\nname = "x"\n\n[features]\nx = true\n',
    "# mine\r\nmodel_provider = 'other'\r\n[model_providers.other]\r\nname = \"x\"\r\n",
    'notify = ["a", "b"]\n[projects."/home/x"]\ntrust_level = "trusted"',
    '[model_providers]\nother = { name = "x", base_url = "http://x" }\n[mcp_servers.a]\ncommand = "b"\n',
    "x = '''\n[model_providers.agent-gateway]\nmodel = 1\n'''\n",
)
CLAUDE = (
    "",
    "{}",
    "{ }\n",
    '{\n  // why\n  "permissions": {"allow": ["Bash(ls:*)"]},\n  "env": {\n    "FOO": "1", // last\n  },\n}\n',
    '{"env": {"ANTHROPIC_AUTH_TOKEN": "old", "ANTHROPIC_BASE_URL": "https:\\/\\/x"}, "model": "opus"}',
    '{\r\n\t"env": {},\r\n\t"hooks": {}\r\n}\r\n',
    '{\n    "a": 1 /* one */ , "b": {"env": {}}\n    /* end */\n}\n',
    '\ufeff{\n  "env": {\n    "A": "//", "B": "/*"\n  }\n}\n',
)
CONTINUE = (
    "",
    "name: mine\nmodels:\n  - name: a\n    provider: openai # c\n    model: m\n# trailing\n\nrules:\n  - x\n",
    "name: mine\r\nmodels:\r\n- {name: a, provider: b}\r\n- name: c\r\n  prompt: |\r\n    two\r\n    lines\r\n",
    "name: mine\nmodels: []\n",
    "# only a comment\n",
    "models:\n  - name: a\n    roles:\n      - chat",
)
AIDER = (
    "",
    "# everything\n#model: xxx",
    "model: gpt-5 # best\nopenai-api-key: 'old'\nread: [a.md]\n",
    "---\r\nmodel:\r\nlint: true\r\n",
    'openai-api-base: "http://x"',
)
SHELL = ("", "export A=1\n", "export A=1", "\r\nset -o vi\r\n")

PROGRAM_FILES = {
    "codex": Files(
        CODEX,
        at_the_end("[theirs]\nx = 1\n"),
        {
            ("model_provider",): "agent-gateway",
            ("model",): "deepseek-chat",
            ("model_providers", "agent-gateway", "base_url"): "http://gateway:4000/v1",
            ("model_providers", "agent-gateway", "wire_api"): "responses",
            ("model_providers", "agent-gateway", "experimental_bearer_token"): TARGET.api_key,
        },
        tomllib.loads,
    ),
    "claude-code": Files(
        CLAUDE,
        after_brace,
        {
            ("env", "ANTHROPIC_BASE_URL"): "http://gateway:4000",
            ("env", "ANTHROPIC_AUTH_TOKEN"): TARGET.api_key,
            ("env", "ANTHROPIC_MODEL"): "deepseek-chat",
        },
        json_parse,
    ),
    "opencode": Files(
        CLAUDE,
        after_brace,
        {
            ("model",): "agent-gateway/deepseek-chat",
            ("provider", "agent-gateway", "options", "baseURL"): "http://gateway:4000/v1",
            ("provider", "agent-gateway", "options", "apiKey"): TARGET.api_key,
            ("provider", "agent-gateway", "models", "qwen3"): {},
        },
        json_parse,
    ),
    "qwen-code": Files(
        tuple(content for content in CLAUDE if "opus" not in content),
        after_brace,
        {
            ("security", "auth", "selectedType"): "openai",
            ("security", "auth", "apiKey"): TARGET.api_key,
            ("security", "auth", "baseUrl"): "http://gateway:4000/v1",
        },
        json_parse,
    ),
    "continue": Files(CONTINUE, at_the_end("theirs: [1]\n"), {}, yaml.safe_load),
    "aider": Files(
        AIDER,
        at_the_end("theirs: [1]\n"),
        {
            ("openai-api-base",): "http://gateway:4000/v1",
            ("openai-api-key",): TARGET.api_key,
            ("model",): "openai/deepseek-chat",
        },
        yaml.safe_load,
    ),
    "shell": Files(SHELL, at_the_end("alias ls='ls -l'\n"), {}, str),
}
CASES = [(name, content) for name, files in PROGRAM_FILES.items() for content in files.contents]


@pytest.fixture(autouse=True)
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without anything in it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SHELL", "/bin/zsh")
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "CONTINUE_GLOBAL_DIR", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    return home


def given(program: Program, content: str) -> Path:
    path = program.path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def connected(name: str, target: Target = TARGET) -> None:
    journal = Journal()
    connection_make(connection_plan(PROGRAMS[name], target, journal), journal)


def disconnected(name: str) -> list[str]:
    return connection_undo(name, Journal())


def value_at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


def everything(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_every_program_that_has_a_file_is_tried() -> None:
    assert set(PROGRAM_FILES) == {program.name for program in PROGRAMS.values() if program.kind}


@pytest.mark.parametrize(("name", "content"), CASES)
def test_a_file_is_changed_and_comes_back_to_the_byte(name: str, content: str) -> None:
    path, files = given(PROGRAMS[name], content), PROGRAM_FILES[name]
    path.chmod(0o640)
    connected(name)
    text = path.read_bytes().decode()
    for place, value in files.wanted.items():
        assert value_at(files.parse(text), place) == value
    assert TARGET.api_key in text
    assert ("\r\n" in text) == ("\r\n" in content)
    for line in content.splitlines():
        remark = re.search(r"(?:^|\s)(?:#|//) .*", line)
        assert remark is None or remark[0].strip() in text
    assert disconnected(name) == []
    assert path.read_bytes().decode() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(("name", "content"), CASES)
def test_a_file_that_changed_in_between_loses_our_values_only(name: str, content: str) -> None:
    files = PROGRAM_FILES[name]
    if name != "shell":
        content = files.added(content or ("{}" if files.parse is json_parse else ""))
        path = given(PROGRAMS[name], content)
        connected(name)
        path.write_bytes(path.read_bytes() + b"\n")  # somebody's editor
        assert disconnected(name) == []
        meant, meant_before = (files.parse(text) or {} for text in (path.read_bytes().decode(), content))
        assert meant == {key: value for key, value in meant_before.items() if value != []}  # of Continue's models
        assert TARGET.api_key not in path.read_text(encoding="utf-8")
        return
    path = given(PROGRAMS[name], content)
    connected(name)
    path.write_bytes(path.read_bytes() + b"alias a=b\n")
    assert disconnected(name) == []
    assert path.read_bytes().decode() in (content + "alias a=b\n", content + "\nalias a=b\n")


@pytest.mark.parametrize("name", PROGRAM_FILES)
def test_without_a_file_one_is_made_for_the_person_alone_and_removed(name: str, person: Path) -> None:
    connected(name)
    path = PROGRAMS[name].path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    disconnected(name)
    assert list(everything(person)) == [".config/agent-gateway/connections.json"]
    assert not path.parent.exists() or path.parent in (person, person / ".config")


@pytest.mark.parametrize("name", PROGRAM_FILES)
def test_connecting_twice_changes_nothing_and_another_gateway_takes_its_place(name: str) -> None:
    content = PROGRAM_FILES[name].contents[1]
    path = given(PROGRAMS[name], content)
    connected(name)
    once = path.read_bytes()
    assert connection_plan(PROGRAMS[name], TARGET, Journal()).is_done
    connected(name, OTHER)
    assert TARGET.api_key.encode() not in path.read_bytes().replace(OTHER.api_key.encode(), b"")
    connected(name)
    assert path.read_bytes() == once
    disconnected(name)
    assert path.read_bytes().decode() == content


def test_a_value_that_somebody_changed_stays() -> None:
    path = given(PROGRAMS["claude-code"], '{"env": {"ANTHROPIC_BASE_URL": "https://before"}}')
    connected("claude-code")
    path.write_text(path.read_text(encoding="utf-8").replace("http://gateway:4000", "https://theirs"), encoding="utf-8")
    assert disconnected("claude-code") == ["env.ANTHROPIC_BASE_URL"]
    assert json.loads(path.read_text(encoding="utf-8")) == {"env": {"ANTHROPIC_BASE_URL": "https://theirs"}}


def test_a_symbolic_link_stays_one(tmp_path: Path, person: Path) -> None:
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "config.toml").write_text(CODEX[1], encoding="utf-8")
    (person / ".codex").mkdir()
    (person / ".codex/config.toml").symlink_to("../../dotfiles/config.toml")
    connected("codex")
    assert TARGET.api_key in (dotfiles / "config.toml").read_text(encoding="utf-8")
    disconnected("codex")
    assert (person / ".codex/config.toml").is_symlink()
    assert (dotfiles / "config.toml").read_text(encoding="utf-8") == CODEX[1]


def test_a_file_of_two_names_keeps_both(tmp_path: Path) -> None:
    path = given(PROGRAMS["codex"], CODEX[1])
    os.link(path, tmp_path / "second")
    connected("codex")
    assert TARGET.api_key in (tmp_path / "second").read_text(encoding="utf-8")
    disconnected("codex")
    assert (tmp_path / "second").read_text(encoding="utf-8") == CODEX[1]
    assert path.stat().st_nlink == 2


def test_a_file_that_is_read_only_is_left_alone(person: Path) -> None:
    path = given(PROGRAMS["codex"], CODEX[1])
    path.chmod(0o444)
    with pytest.raises(GatewayError, match="read-only"):
        connected("codex")
    assert path.read_text(encoding="utf-8") == CODEX[1]
    assert Journal().entries == {}
    assert list((person / ".config/agent-gateway/backups").iterdir()) == []


def test_a_file_that_became_read_only_stays_connected() -> None:
    path = given(PROGRAMS["codex"], CODEX[1])
    connected("codex")
    path.chmod(0o444)
    with pytest.raises(GatewayError, match="read-only"):
        disconnected("codex")
    path.chmod(0o600)
    disconnected("codex")
    assert path.read_text(encoding="utf-8") == CODEX[1]


def test_a_file_that_changes_between_plan_and_writing_is_left_alone() -> None:
    path = given(PROGRAMS["codex"], CODEX[1])
    journal = Journal()
    plan = connection_plan(PROGRAMS["codex"], TARGET, journal)
    path.write_text("theirs = 1\n", encoding="utf-8")
    with pytest.raises(GatewayError, match="changed by another program"):
        connection_make(plan, journal)
    assert path.read_text(encoding="utf-8") == "theirs = 1\n"
    assert Journal().entries == {}


BROKEN = [
    ("codex", "model = \n"),
    ("codex", 'model_providers = "none"\n'),
    ("codex", "a = 1\na = 2\n"),
    ("claude-code", "{"),
    ("claude-code", "[]"),
    ("claude-code", '{"env": []}'),
    ("claude-code", '{"env": {}, "env": {}}'),
    ("claude-code", '{"a": 1,, }'),
    ("claude-code", "[" * 100_000),
    ("continue", "models: {a: 1}\n"),
    ("continue", "models: [{name: a}]\n"),
    ("continue", "- a\n"),
    ("continue", "a: [\n"),
    ("continue", "{name: a}\n"),
    ("aider", "model: |\n  two\n  lines\n"),
    ("aider", "a: 1\n---\nb: 2\n"),
    ("aider", "model: &m x\nother: *m\n"),
    ("qwen-code", '{"model": "qwen"}'),
]


@pytest.mark.parametrize(("name", "content"), BROKEN)
def test_a_file_that_is_broken_or_written_otherwise_is_left_alone(name: str, content: str) -> None:
    path = given(PROGRAMS[name], content)
    with pytest.raises(GatewayError, match="left alone"):
        connected(name)
    assert path.read_bytes().decode() == content


def test_bytes_that_are_not_text_are_left_alone() -> None:
    path = PROGRAMS["claude-code"].path()
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe{\x00}\x00")
    with pytest.raises(GatewayError, match="not UTF-8"):
        connected("claude-code")
    assert path.read_bytes() == b"\xff\xfe{\x00}\x00"


def test_a_broken_backup_is_not_written_back() -> None:
    path = given(PROGRAMS["codex"], CODEX[1])
    connected("codex")
    Path(str(Journal().entries["codex"].backup)).write_bytes(b"truncated")
    disconnected("codex")
    assert tomllib.loads(path.read_text(encoding="utf-8")) == tomllib.loads(CODEX[1])


def test_a_block_that_somebody_edited_stays() -> None:
    path = given(PROGRAMS["shell"], "a=1\n")
    connected("shell")
    path.write_text(path.read_text(encoding="utf-8").replace("OPENAI_BASE_URL", "MINE"), encoding="utf-8")
    (kept,) = disconnected("shell")
    assert "block" in kept
    assert "MINE" in path.read_text(encoding="utf-8")


def test_values_for_the_shell_are_quoted() -> None:
    hostile = Target("http://x", "a'; touch /tmp/x; '$(id)`id`\\", None, [])
    path = given(PROGRAMS["shell"], "")
    connected("shell", hostile)
    assert "'a'\\''; touch /tmp/x; '\\''$(id)`id`\\'" in path.read_text(encoding="utf-8")


def test_continue_with_its_older_file_is_left_alone(person: Path) -> None:
    (person / ".continue").mkdir()
    (person / ".continue/config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(GatewayError, match="migrate"):
        connected("continue")
    assert list(everything(person)) == [".continue/config.json"]
