"""Tools' names stay within what every wire takes, are told apart and lead back."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from inference_app.conversion.tool_names import MAX_NAME, Origin, ToolNames

ANY = st.text(min_size=1, max_size=100)


@given(st.lists(st.tuples(st.none() | ANY, ANY), unique=True, max_size=12))
def test_every_tool_has_a_plain_name_of_its_own_that_leads_back(tools: list[tuple[str | None, str]]) -> None:
    names = ToolNames()
    wire = {names.add(Origin(name, namespace)): (namespace, name) for namespace, name in tools}
    assert len(wire) == len(tools)
    for name, key in wire.items():
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
        assert names.origin(name).key == key


def test_a_plain_name_stays_as_it_is() -> None:
    names = ToolNames()
    assert names.add(Origin("read_file")) == "read_file"
    assert names.add(Origin("read_file", "mcp")) == "mcp__read_file"


def test_names_that_would_flatten_to_the_same_are_told_apart() -> None:
    names = ToolNames()
    first, second, third = (names.add(o) for o in (Origin("a__b"), Origin("b", "a"), Origin("_b", "a")))
    assert first == "a__b"
    assert len({first, second, third}) == 3
    assert names.origin(second) == Origin("b", "a")


def test_a_long_name_is_the_same_in_every_request() -> None:
    tool = Origin("t" * 60, "namespace")
    names = ToolNames()
    assert names.add(tool) == ToolNames().add(tool) == ToolNames().wire_name(tool.name, tool.namespace)
    assert len(names.wire_name(tool.name, tool.namespace)) == MAX_NAME


def test_a_long_name_still_ends_in_the_tools_own() -> None:
    assert ToolNames().add(Origin("read_file", "server" * 20)).endswith("__read_file")


def test_a_name_that_no_tool_has_is_handed_on() -> None:
    assert ToolNames().origin("made_up") == Origin("made_up")
