"""The language of the code: docstrings that open with a noun, functions that are verbs, references that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

FOLDERS = (
    *sorted(path.name for path in settings.BASE_DIR.glob("*_app")),
    "faces",
    "gateway_project",
    "gateway_client",
    "deploy",
)
MODULES = sorted(
    path for folder in FOLDERS for path in (settings.BASE_DIR / folder).rglob("*.py") if "migrations" not in path.parts
)

RELATIVE = re.compile(r"(?:What|How|Who|Whom|Whose|Which|Where|Whether|When|Why|Of|For what)\b")
"""Openings that make a reader wait for the noun."""

NO_VERB = re.compile(
    r"\w*ed|told|said|shown|sent|left|kept|begun|held|made|known|given|taken|written|drawn|heard|asked|seen|done|gone"
    r"|found|built|bound|lost|met|paid|sold|thought|spoken|chosen|broken|forgotten|grown|hidden|thrown|woken"
    r"|whole|bare|new|old|odd|busy|idle|able|empty|full|long|short|large|small|slow|loose|quiet"
)
"""Participles and adjectives."""

NOUNS_IN_ED = frozenset({"feed", "need", "seed", "speed", "embed"})
PROPERTIES = frozenset({"property", "cached_property", "functools.cached_property"})

REFERENCE = re.compile(r"\b(?:docs/[\w-]+\.md|[A-Z]{4,}\.md|contracts/\w+(?:\.md)?)")
SECTION = re.compile(r"(docs/[\w-]+\.md), \"([^\"]+)\"")
"""A document with the heading of a section."""

VAGUE_REFERENCE = re.compile(r"\bdesign, decision|\bnative contract\b|\(contract[:)]")


def shown(path: Path) -> str:
    return str(path.relative_to(settings.BASE_DIR))


@cache
def headings(document: str) -> frozenset[str]:
    text = (settings.BASE_DIR / document).read_text(encoding="utf-8")
    return frozenset(heading.strip("# ").replace("`", "") for heading in re.findall(r"^#+ .*$", text, re.MULTILINE))


def documented(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_no_verb(name: str) -> bool:
    """True for a single participle or adjective; a name of several words is read as a phrase."""
    if "_" in name or name in NOUNS_IN_ED:
        return False
    return NO_VERB.fullmatch(name) is not None


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator) in PROPERTIES for decorator in node.decorator_list)


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_a_docstring_opens_with_its_subject(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [ast.get_docstring(node) or "" for node in documented(tree)]
    assert [text.splitlines()[0] for text in found if RELATIVE.match(text)] == []


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_a_public_function_is_no_single_participle_or_adjective(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in documented(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if is_no_verb(node.name) and not is_property(node)] == []


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_what_is_cited_is_in_the_repository(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    cited = set(REFERENCE.findall(text))
    assert [name for name in sorted(cited) if not (settings.BASE_DIR / name).is_file()] == []
    assert VAGUE_REFERENCE.findall(text) == []
    sections = SECTION.findall(" ".join(text.replace("#", " ").split()))
    assert [cited for cited in sections if cited[1] not in headings(cited[0])] == []


@pytest.mark.parametrize(("name", "expected"), [("told", True), ("closed", True), ("whole", True), ("send", False)])
def test_the_rule_for_names_knows_them_apart(name: str, expected: bool) -> None:
    assert is_no_verb(name) is expected
    assert not is_no_verb("feed")
    assert not is_no_verb("send_closed")
