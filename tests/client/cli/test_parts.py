"""Parts of the command line by themselves: harmless text, Markdown in blocks, `.env` files, bars, configuration."""

from __future__ import annotations

import io
import json
import os
import queue
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from gateway_client.cli.connect.document import MISSING, value_at, with_value
from gateway_client.cli.connect.json_document import JsonDocument
from gateway_client.cli.env_file import env_names, env_set
from gateway_client.cli.failures import failure_explain
from gateway_client.cli.feed import EventFeed
from gateway_client.cli.files import file_read, file_write
from gateway_client.cli.live_markdown import LONGEST_BLOCK, MarkdownWriter, finished_split
from gateway_client.cli.plain_text import HarmlessHook, clean, json_document, json_line, one_line
from gateway_client.cli.settings import settings_load
from gateway_client.cli.usage import bar
from gateway_client.cli.when import duration_text, since_text
from gateway_client.errors import GatewayError, InternalError, RateLimited
from gateway_client.events import Event

ANY_TEXT = st.text(st.characters(codec=None), max_size=60)


def forbidden(text: str) -> list[str]:
    """The characters that a terminal obeys."""
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


@given(ANY_TEXT)
def test_clean_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    assert forbidden(clean(text)) == []
    assert not set("\u202e\u2066\u200f") & set(clean(text))
    assert "\n" not in one_line(text)


@given(
    st.recursive(ANY_TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner))
)
def test_json_is_harmless_and_means_the_same(value: object) -> None:
    assert forbidden(json_line(value)) == forbidden(json_document(value)) == []
    assert json.loads(json_line(value)) == json.loads(json_document(value)) == value
    assert "\n" not in json_line(value)


@given(ANY_TEXT)
def test_markdown_and_text_are_printed_harmlessly(text: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=80, highlight=False)
    console.push_render_hook(HarmlessHook())
    writer = MarkdownWriter(console)
    writer.feed(text)
    writer.finish()
    console.print(Text(text))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert forbidden(printed) == []


MARKDOWN = """# Title

A paragraph.

- one
- two

  still two

```python
def f():

    return 1

# not a title
```

~~~
```

~~~

Last words"""


def test_blocks_are_finished_at_blank_lines_outside_of_lists_and_code() -> None:
    blocks, rest = [], ""
    for character in MARKDOWN:
        finished, rest = finished_split(rest + character)
        blocks += [finished] if finished else []
    assert "".join(blocks) + rest == MARKDOWN
    assert [block.split("\n")[0] for block in blocks] == ["# Title", "A paragraph.", "- one", "```python", "~~~"]
    assert rest == "Last words"


@given(st.text("ab \n`#-", max_size=80))
def test_splitting_loses_nothing(text: str) -> None:
    assert "".join(finished_split(text)) == text


def test_a_block_without_an_end_is_printed_in_parts() -> None:
    console = Console(file=io.StringIO(), width=80)
    writer = MarkdownWriter(console)
    writer.feed("word " * LONGEST_BLOCK)
    assert len(console.file.getvalue().split()) > LONGEST_BLOCK // 10  # type: ignore[attr-defined]
    writer.finish()
    assert len(console.file.getvalue().split()) == LONGEST_BLOCK  # type: ignore[attr-defined]


def test_an_env_file_gets_values_and_keeps_the_rest() -> None:
    text = "# OPENAI_API_KEY=no\r\nexport OPENAI_API_KEY='old' # note\r\n A=1"
    changed = env_set(text, {"OPENAI_API_KEY": "sk-1", "XAI_API_KEY": "a b'c\\"})
    assert changed == '# OPENAI_API_KEY=no\r\nexport OPENAI_API_KEY=sk-1\r\n A=1\r\nXAI_API_KEY="a b\'c\\\\"\r\n'
    assert env_names(changed) == {"OPENAI_API_KEY", "A", "XAI_API_KEY"}
    for broken in ({"A": "x\ny"}, {"A-B": "x"}):
        with pytest.raises(GatewayError):
            env_set("", broken)
    with pytest.raises(GatewayError, match="over several lines"):
        env_set('A="one\ntwo"\n', {"A": "x"})


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30))
def test_the_gateway_reads_what_the_env_file_has(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    from environs import Env

    path = tmp_path_factory.mktemp("env") / ".env"
    path.write_text(env_set("", {"A_KEY": value}), encoding="utf-8")
    env = Env()
    env.read_env(str(path), recurse=False)
    assert env.str("A_KEY") == value
    os.environ.pop("A_KEY", None)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", 'd"\\']), min_size=1, max_size=3).map(tuple)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "x"]), JSON_VALUES),
    st.sampled_from([None, 2, "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    PATHS,
    JSON_VALUES,
)
def test_a_json_document_changes_what_it_is_told(
    whole: dict[str, object], indent: int | str | None, newline: str, path: tuple[str, ...], value: object
) -> None:
    text = json.dumps(whole, indent=indent, ensure_ascii=False).replace("\n", newline)
    document = JsonDocument(text)
    before = value_at(whole, path)
    parents = [value_at(whole, path[:depth]) for depth in range(1, len(path))]
    if any(not isinstance(parent, dict) for parent in parents if parent is not MISSING):
        with pytest.raises(GatewayError):
            document.set(path, value)
        return
    raw = None if before is MISSING else document.raw(path)
    document.set(path, value)
    assert document.value() == with_value(whole, path, value)
    if raw is not None:
        document.set_raw(path, raw)
        assert document.text == text
    else:
        document.remove(path)
        assert document.value() == with_value(with_value(whole, path, value), path, MISSING)


class _Stream:
    """A stream of so many events."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self._events = iter([Event("a", {"number": number}, str(number)) for number in range(count)])
        self._error = error
        self.closed = False

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> Event:
        event = next(self._events, None)
        if event is None:
            raise self._error or StopIteration
        return event

    def close(self) -> None:
        self.closed = True


def test_a_feed_hands_on_every_event_and_the_end() -> None:
    stream = _Stream(1200)
    with EventFeed(stream) as feed:  # type: ignore[arg-type]
        assert feed.next() is not None
        while not feed.comes(lambda event: event.data["number"] == 3):
            pass
        numbers = [event.data["number"] for event in iter(feed.next, None)]
        assert numbers == list(range(1, 1200))
        assert feed.next() is None
        assert feed.comes(lambda event: False)
    assert stream.closed


def test_a_feed_hands_on_the_error() -> None:
    with EventFeed(_Stream(1, LookupError("lost"))) as feed:  # type: ignore[arg-type]
        assert feed.next() is not None
        with pytest.raises(LookupError, match="lost"):
            feed.next()


def test_a_feed_that_has_nothing_says_so() -> None:
    class Silent(_Stream):
        def __next__(self) -> Event:
            blocked.get()
            raise StopIteration

    blocked: queue.Queue[None] = queue.Queue()
    with EventFeed(Silent(0)) as feed:  # type: ignore[arg-type]
        with pytest.raises(queue.Empty):
            feed.next(0.01)
        blocked.put(None)
        assert feed.next() is None


def test_bars_and_durations() -> None:
    assert [bar(value, 100).plain for value in (0, 0.001, 50, 100)] == ["", "▏", "█" * 10, "█" * 20]
    assert bar(0, 0).plain == ""
    assert [duration_text(seconds) for seconds in (3, 61, 7300, 90_000)] == ["3 s", "1 minute", "2 hours", "1 day"]
    assert since_text("2020-01-31T12:00:00.123Z").endswith("days ago")


def test_failures_name_what_helps() -> None:
    assert "Try again in 7 s" in failure_explain(RateLimited("Slower.", status=429, retry_after=7), None)
    assert "err_1" in failure_explain(InternalError("Broken.", status=500, error_id="err_1"), None)


def test_a_broken_configuration_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "agent-gateway").mkdir()
    (tmp_path / "agent-gateway/config.toml").write_text("url = \n", encoding="utf-8")
    with pytest.raises(GatewayError, match=r"config\.toml cannot be read"):
        settings_load(None)


def test_what_is_not_a_plain_file_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for name in ("directory", "loop", "pipe"):
        with pytest.raises(GatewayError):
            file_read(tmp_path / name)
    state = file_read(tmp_path / "new/deep/file")
    assert state.content is None
    file_write(state, b"x")
    assert (tmp_path / "new/deep/file").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "new/deep").iterdir()] == ["file"]
