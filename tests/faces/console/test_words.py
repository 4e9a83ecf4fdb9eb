"""The console in Chinese: every text has a translation, none is left over, and the compiled catalogue is current."""

from __future__ import annotations

import gettext
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from faces.console.language import LANGUAGES

FACE = Path(__file__).parents[3] / "faces/console"
LOCALE = FACE / "locale"
STRINGS = FACE / "static/console/strings"
OTHERS = [code for code in LANGUAGES if code != "en"]

_TRANSLATE = re.compile(r"""\{%\s*translate\s+(?:"([^"]*)"|'([^']*)')\s*%\}""")
_BLOCK = re.compile(r"\{%\s*blocktranslate[^%]*%\}(.*?)\{%\s*endblocktranslate\s*%\}", re.DOTALL)
_PYTHON = re.compile(r'\b_\(\s*"((?:[^"\\]|\\.)*)"')
_SCRIPT = re.compile(r'\bt\(\s*("(?:[^"\\]|\\.)*")')
_ENTRY = re.compile(r'^\s*("(?:[^"\\]|\\.)*"): ?("(?:[^"\\]|\\.)*"),?$', re.MULTILINE)
_PO_ENTRY = re.compile(r'^msgid (".+"(?:\n".*")*)\nmsgstr (".*"(?:\n".*")*)', re.MULTILINE)
_PLACE = re.compile(r"%\(\w+\)s|\{\w+\}")


def page_texts() -> set[str]:
    """The texts of templates and views."""
    return {text for path in FACE.rglob("*.html") for text in _template_texts(path.read_text(encoding="utf-8"))} | {
        json.loads(f'"{text}"')
        for path in FACE.rglob("*.py")
        for text in _PYTHON.findall(path.read_text(encoding="utf-8"))
    }


def _template_texts(template: str) -> Iterator[str]:
    for double, single in _TRANSLATE.findall(template):
        yield double or single
    for block in _BLOCK.findall(template):
        yield re.sub(r"\{\{\s*(\w+)\s*\}\}", r"%(\1)s", block)


def script_texts() -> set[str]:
    """The texts of scripts."""
    scripts = [path for path in (FACE / "static").rglob("*.js") if STRINGS not in path.parents]
    return {json.loads(text) for path in scripts for text in _SCRIPT.findall(path.read_text(encoding="utf-8"))}


def script_strings(code: str) -> dict[str, str]:
    """The translations of scripts: those of the language's file, and of the files that it takes in."""
    found: dict[str, str] = {}
    for path in STRINGS.glob(f"{code}*.js"):
        for key, value in _ENTRY.findall(path.read_text(encoding="utf-8")):
            assert json.loads(key) not in found, f"{path.name} translates {key} again"
            found[json.loads(key)] = json.loads(value)
    return found


def catalogue(code: str) -> dict[str, str]:
    """The translations of templates and views, as their source has them."""
    path = _folder(code) / "django.po"
    return {_po_text(key): _po_text(value) for key, value in _PO_ENTRY.findall(path.read_text(encoding="utf-8"))}


def _po_text(lines: str) -> str:
    return "".join(json.loads(line) for line in lines.split("\n"))


def _folder(code: str) -> Path:
    language, _, script = code.partition("-")
    return LOCALE / f"{language}_{script.title()}" / "LC_MESSAGES"


@pytest.mark.parametrize("code", OTHERS)
def test_every_text_of_a_page_is_translated_and_none_is_left_over(code: str) -> None:
    translated = catalogue(code)
    assert page_texts() - translated.keys() == set()
    assert translated.keys() - page_texts() == set()
    assert [key for key, value in translated.items() if not value] == []


@pytest.mark.parametrize("code", OTHERS)
def test_the_compiled_catalogue_is_that_of_its_source(code: str) -> None:
    with (_folder(code) / "django.mo").open("rb") as compiled:
        read = gettext.GNUTranslations(compiled)
    kept = {key: value for key, value in vars(read)["_catalog"].items() if key}
    assert kept == catalogue(code), "compile it: docs/console.md"


@pytest.mark.parametrize("code", OTHERS)
def test_every_text_of_a_script_is_translated_and_none_is_left_over(code: str) -> None:
    translated = script_strings(code)
    assert script_texts() - translated.keys() == set()
    assert translated.keys() - script_texts() == set()


@pytest.mark.parametrize("code", OTHERS)
def test_translations_have_the_places_of_their_texts(code: str) -> None:
    for key, value in (catalogue(code) | script_strings(code)).items():
        assert sorted(_PLACE.findall(key)) == sorted(_PLACE.findall(value)), key
