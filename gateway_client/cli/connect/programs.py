"""The programs that can be connected: where each has its configuration, and what is written there.

Checked against the programs' own documentation in November 2026. `by_hand` and `impossible` say why a program is left
to the person.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway_client.cli.connect.changes import Change
from gateway_client.errors import GatewayError

NAME, TITLE = "agent-gateway", "Agent Gateway"
MOST_MODELS = 50


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway that is written into configurations. `models` are those that it offers."""

    url: str
    api_key: str
    model: str | None
    models: Sequence[str]

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"


@dataclass(frozen=True, slots=True)
class Program:
    """A program. `kind` is the format of its file, `block` for a shell's; `command` is looked up in PATH. `own_models`
    are the prefixes of models that it asks for by itself: it needs another one only where the gateway has none of them.
    """

    name: str
    title: str
    command: str
    kind: str = ""
    path: Callable[[], Path] = Path
    changes: Callable[[Target], list[Change]] = lambda target: []
    needs_model: bool = False
    own_models: tuple[str, ...] = ()
    by_hand: Callable[[Target], str] | None = None
    impossible: str = ""
    warning: Callable[[Mapping[str, str]], str] = lambda environment: ""

    @property
    def is_found(self) -> bool:
        """True when the program, or its directory of settings, is on this machine."""
        if shutil.which(self.command) or self.kind == "block":
            return True
        try:
            directory = self.path().parent if self.kind else Path.home()
        except GatewayError:  # it is here, in a way that cannot be changed
            return True
        return directory != Path.home() and directory.is_dir()


def shell_name() -> str:
    """Returns the person's shell: `bash`, `zsh`, `fish`, or `sh` for any other."""
    name = Path(os.environ.get("SHELL", "")).name
    return name if name in ("bash", "zsh", "fish") else "sh"


def shell_variables(target: Target) -> dict[str, str]:
    """Returns the variables that OpenAI's and Anthropic's clients and this command read."""
    return {
        "AGENT_GATEWAY_URL": target.url,
        "AGENT_GATEWAY_API_KEY": target.api_key,
        "OPENAI_BASE_URL": target.openai_url,
        "OPENAI_API_BASE": target.openai_url,
        "OPENAI_API_KEY": target.api_key,
        "ANTHROPIC_BASE_URL": target.url,
        "ANTHROPIC_AUTH_TOKEN": target.api_key,
    }


def _directory(variable: str, *parts: str) -> Path:
    given = os.environ.get(variable)
    return Path(given) if given else Path.home().joinpath(*parts)


def _opencode_path() -> Path:
    directory = _directory("XDG_CONFIG_HOME", ".config") / "opencode"
    commented = directory / "opencode.jsonc"
    return commented if commented.exists() else directory / "opencode.json"


def _continue_path() -> Path:
    directory = _directory("CONTINUE_GLOBAL_DIR", ".continue")
    path = directory / "config.yaml"
    if not path.exists() and (directory / "config.json").exists():
        raise GatewayError(
            f"Continue has {directory / 'config.json'}, and would read config.yaml instead: migrate it first."
        )
    return path


def _shell_path() -> Path:
    shell = shell_name()
    if shell == "zsh":
        return _directory("ZDOTDIR") / ".zshrc"
    if shell == "fish":
        return _directory("XDG_CONFIG_HOME", ".config") / "fish" / "config.fish"
    return Path.home() / (".bashrc" if shell == "bash" else ".profile")


def _codex(target: Target) -> list[Change]:
    table = ("model_providers", NAME)
    changes = [Change(("model_provider",), NAME)]
    changes += [Change(("model",), target.model)] if target.model else []
    return [
        *changes,
        Change((*table, "name"), TITLE),
        Change((*table, "base_url"), target.openai_url),
        Change((*table, "wire_api"), "responses"),
        Change((*table, "experimental_bearer_token"), target.api_key, secret=True),
    ]


def _claude_code(target: Target) -> list[Change]:
    changes = [
        Change(("env", "ANTHROPIC_BASE_URL"), target.url),
        Change(("env", "ANTHROPIC_AUTH_TOKEN"), target.api_key, secret=True),
    ]
    if target.model:
        names = ("ANTHROPIC_MODEL", *(f"ANTHROPIC_DEFAULT_{size}_MODEL" for size in ("OPUS", "SONNET", "HAIKU")))
        changes += [Change(("env", name), target.model) for name in names]
    return changes


def _opencode(target: Target) -> list[Change]:
    provider = ("provider", NAME)
    models = dict.fromkeys([str(target.model), *target.models[:MOST_MODELS]])
    return [
        Change((*provider, "npm"), "@ai-sdk/openai-compatible"),
        Change((*provider, "name"), TITLE),
        Change((*provider, "options", "baseURL"), target.openai_url),
        Change((*provider, "options", "apiKey"), target.api_key, secret=True),
        *(Change((*provider, "models", model), {}) for model in models),
        Change(("model",), f"{NAME}/{target.model}"),
    ]


def _qwen_code(target: Target) -> list[Change]:
    return [
        Change(("security", "auth", "selectedType"), "openai"),
        Change(("security", "auth", "apiKey"), target.api_key, secret=True),
        Change(("security", "auth", "baseUrl"), target.openai_url),
        Change(("model", "name"), target.model),
    ]


def _continue(target: Target) -> list[Change]:
    model = {
        "name": f"{TITLE}: {target.model}",
        "provider": "openai",
        "model": target.model,
        "apiBase": target.openai_url,
        "apiKey": target.api_key,
        "roles": ["chat", "edit", "apply"],
    }
    return [
        Change(("name",), "Local Config", default=True),
        Change(("version",), "1.0.0", default=True),
        Change(("schema",), "v1", default=True),
        Change(("models",), model, item=True, secret=True),
    ]


def _aider(target: Target) -> list[Change]:
    return [
        Change(("openai-api-base",), target.openai_url),
        Change(("openai-api-key",), target.api_key, secret=True),
        Change(("model",), f"openai/{target.model}"),
    ]


def _cursor(target: Target) -> str:
    return (
        f"Cursor keeps its settings in a database of its own: in Settings, Models, give the OpenAI API key, switch on "
        f"'Override OpenAI Base URL' and enter {target.openai_url}. Cursor's servers must reach that address."
    )


def _claude_warning(environment: Mapping[str, str]) -> str:
    if environment.get("ANTHROPIC_API_KEY"):
        return "ANTHROPIC_API_KEY is set here and is sent too: unset it."
    return ""


def _qwen_warning(environment: Mapping[str, str]) -> str:
    named = [name for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL") if environment.get(name)]
    return f"{', '.join(named)} in the environment precede this file for Qwen Code." if named else ""


PROGRAMS: Mapping[str, Program] = {
    program.name: program
    for program in (
        Program(
            "codex",
            "Codex",
            "codex",
            "toml",
            lambda: _directory("CODEX_HOME", ".codex") / "config.toml",
            _codex,
            needs_model=True,
            own_models=("gpt-", "codex-", "o3", "o4"),
        ),
        Program(
            "claude-code",
            "Claude Code",
            "claude",
            "json",
            lambda: _directory("CLAUDE_CONFIG_DIR", ".claude") / "settings.json",
            _claude_code,
            needs_model=True,
            own_models=("claude-",),
            warning=_claude_warning,
        ),
        Program("opencode", "opencode", "opencode", "json", _opencode_path, _opencode, needs_model=True),
        Program(
            "gemini",
            "Gemini CLI",
            "gemini",
            impossible="Gemini CLI speaks Gemini's own protocol only, which the gateway does not serve.",
        ),
        Program(
            "qwen-code",
            "Qwen Code",
            "qwen",
            "json",
            lambda: Path.home() / ".qwen" / "settings.json",
            _qwen_code,
            needs_model=True,
            warning=_qwen_warning,
        ),
        Program("cursor", "Cursor", "cursor", by_hand=_cursor),
        Program("continue", "Continue", "cn", "yaml", _continue_path, _continue, needs_model=True),
        Program("aider", "aider", "aider", "yaml", lambda: Path.home() / ".aider.conf.yml", _aider, needs_model=True),
        Program("shell", "the shell", "sh", "block", _shell_path),
    )
}
"""Every program by its name."""
