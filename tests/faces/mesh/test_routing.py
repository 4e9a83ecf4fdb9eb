"""Routing as a table of cases, in Chinese, Japanese, Thai and English."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core_app.config_file import ConfigurationError
from faces.mesh.routing import Candidate, Route, Rule, matches, route
from faces.mesh.rules import ROUTING
from faces.mesh.scripts import fold

MATCHES = [
    # English: whole words, whatever their case.
    ("code review", "Please do a Code Review of this", True),
    ("code review", "do a code\n  review", True),
    ("code review", "code reviews", False),
    ("code review", "barcode review", False),
    ("test", "run the TEST.", True),
    ("test", "the latest contest", False),
    ("test", "test_case", False),
    ("c++", "write it in C++, please", True),
    ("c++", "write it in abc++", False),
    (".net", "a .NET service", True),
    ("straße", "in der STRASSE", True),
    ("деплой", "Сделай ДЕПЛОЙ сейчас", True),
    ("деплой", "деплойный", False),
    # Chinese, Japanese, Thai: anywhere in the text.
    ("代码审查", "请帮我做代码审查，谢谢", True),
    ("代码审查", "请审查代码", False),
    ("审查", "代码审查", True),
    ("浏览器", "打开浏览器并截图", True),
    ("レビュー", "コードレビューをお願いします", True),
    ("翻訳", "この文を翻訳してください", True),
    ("แปล", "ช่วยแปลข้อความนี้", True),
    # Both in one text: a word of one script ends where the other begins.
    ("review", "请review这段代码", True),
    ("review", "请reviews这段代码", False),
    ("python代码", "写一段Python代码", True),
    ("ＲＥＶＩＥＷ", "please review", True),
    ("", "anything", False),
    ("   ", "anything", False),
]


@pytest.mark.parametrize(("keyword", "text", "expected"), MATCHES)
def test_a_keyword_matches(keyword: str, text: str, expected: bool) -> None:
    assert matches(keyword, fold(text)) is expected


REVIEWER = Candidate("reviewer", frozenset({"code-review", "refactoring"}), "online")
BROWSER = Candidate("browser", frozenset({"browser-automation"}), "online")
WRITER = Candidate("writer", frozenset({"documentation"}), "busy")
AWAY = Candidate("away", frozenset({"code-review", "translation"}), "offline")
AGENTS = (REVIEWER, BROWSER, WRITER, AWAY)

RULES = (
    Rule("docs", ("document", "文档"), ("writer",), priority=1),
    Rule("review", ("code review", "代码审查"), ("reviewer",), priority=5),
    Rule("browse", ("browser", "浏览器"), ("browser",), priority=5),
    Rule("all hands", ("all hands", "全体"), ("reviewer", "browser", "away"), broadcast=True, priority=10),
    Rule("translate", ("translate", "翻译"), ("away",), priority=20),
    Rule("either", ("either", "随便"), ("away", "writer", "browser")),
)

CASES: list[tuple[str, dict[str, Any], Route | None]] = [
    ("Do a code review", {}, Route(("reviewer",), rule="review")),
    ("请做代码审查", {}, Route(("reviewer",), rule="review")),
    ("用浏览器打开这个网页", {}, Route(("browser",), rule="browse")),
    # Of several matching rules the one with the highest priority, then the first.
    ("code review of this document", {}, Route(("reviewer",), rule="review")),
    ("浏览器里做代码审查", {}, Route(("reviewer",), rule="review")),
    # Broadcast goes to all of the rule's agents, also those that are away: their failure is shown.
    ("全体成员：code review", {}, Route(("reviewer", "browser", "away"), True, "all hands")),
    # A rule whose agents are all offline is passed over.
    ("翻译这份文档", {}, Route(("writer",), rule="docs")),
    ("translate this", {}, None),
    ("translate this", {"default": "writer"}, Route(("writer",))),
    # Of several agents the first that is online, then one that is busy.
    ("either of you", {}, Route(("browser",), rule="either")),
    ("随便谁都行", {}, Route(("browser",), rule="either")),
    # Without a rule: the required capabilities, then the default agent, else nobody.
    ("hello", {}, None),
    ("你好", {"default": "writer"}, Route(("writer",))),
    ("hello", {"default": "away"}, None),
    ("hello", {"default": "unknown"}, None),
    ("hello", {"required": ["browser-automation"]}, Route(("browser",))),
    ("hello", {"required": ["browser-automation"], "default": "reviewer"}, Route(("browser",))),
    ("hello", {"required": ["refactoring"], "default": "reviewer"}, Route(("reviewer",))),
    ("hello", {"required": ["translation"], "default": "reviewer"}, None),
    # An agent has to have all required capabilities, also one that a rule names.
    ("code review", {"required": ["refactoring"]}, Route(("reviewer",), rule="review")),
    ("code review", {"required": ["refactoring", "flying"]}, None),
    ("code review", {"required": ["documentation"]}, Route(("writer",))),
    ("all hands", {"required": ["code-review"]}, Route(("reviewer", "away"), True, "all hands")),
]


@pytest.mark.parametrize(("text", "more", "expected"), CASES)
def test_a_task_is_routed(text: str, more: dict[str, Any], expected: Route | None) -> None:
    assert route(text, rules=RULES, agents=AGENTS, **more) == expected


def configured(tmp_path: Path, settings: Any, text: str) -> Any:
    path = tmp_path / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    settings.GATEWAY_CONFIG = path
    ROUTING.forget()
    return ROUTING.get()


@pytest.mark.parametrize("name", ["defaultAgent", "default_agent"])
def test_the_configuration_takes_both_spellings(tmp_path: Path, settings: Any, name: str) -> None:
    text = (
        f"routing: {{{name}: a, rules: [{{name: n, keywords: [k], agents: [a, b], strategy: broadcast, priority: 3}}]}}"
    )
    found = configured(tmp_path, settings, text)
    assert found.default_agent == "a"
    assert [entry.rule() for entry in found.rules] == [Rule("n", ("k",), ("a", "b"), True, 3)]


@pytest.mark.parametrize(
    "rule",
    [
        "{keywords: [k]}",
        "{keywords: [k], agent: a, agents: [b]}",
        "{agent: a}",
        "{keywords: [k], agent: a, strategy: x}",
    ],
)
def test_a_rule_that_says_too_little_or_too_much_is_refused(tmp_path: Path, settings: Any, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=r"gateway\.yaml: routing\.rules\.0"):
        configured(tmp_path, settings, f"routing: {{rules: [{rule}]}}")
