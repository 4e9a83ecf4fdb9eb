"""Strategies for all that both sides of a conversion can say: docs/conversions.md lists the same."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
OBJECTS = st.dictionaries(
    NAMES, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=3
)
SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(NAMES, st.just({"type": "string"}), max_size=3)}
)
DATA_URLS = st.sampled_from(["data:image/png;base64,iVBORw0KGgo=", "data:image/jpeg;base64,/9j/4AAQ"])
URLS = DATA_URLS | st.just("https://example.org/cat.png")


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Any of the fields, or none."""
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def turns(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """A conversation in no dialect: ("user", text or [parts]), ("system", text), ("assistant", (text, calls)), where
    calls are (id, name, arguments, output)."""
    spoken: list[tuple[str, Any]] = [("user", draw(user_content()))]
    for number in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["user", "assistant", "system"]))
        if kind == "user":
            spoken.append((kind, draw(user_content())))
        elif kind == "system":
            spoken.append((kind, draw(TEXTS)))
        else:
            count = draw(st.integers(0, 3))
            calls = [(f"call_{number}_{n}", draw(NAMES), draw(OBJECTS), draw(TEXTS)) for n in range(count)]
            text = draw(TEXTS) if not calls else draw(st.none() | TEXTS)
            spoken.append((kind, (text, calls)))
    return spoken


def user_content() -> st.SearchStrategy[Any]:
    """Text, or text beside an image."""
    return TEXTS | st.tuples(TEXTS, URLS)


TOOLS = st.lists(
    st.fixed_dictionaries({"name": NAMES, "parameters": SCHEMAS}, optional={"description": TEXTS}),
    min_size=1,
    max_size=4,
    unique_by=lambda tool: str(tool["name"]),
)
