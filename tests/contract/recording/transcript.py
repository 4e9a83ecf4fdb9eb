"""A transcript of what went over the wire, as a text file that can be compared and read.

`>` is what a client sent and `<` what it got; `|` begins each line of a body, so that every byte of one has its place:
a body that ends with a newline ends with an empty `|`. Bytes that are no text stand as escapes.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.contract.recording.normalising import normalised


class Transcript:
    """One section of the run."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def title(self, text: str) -> None:
        """The subject of the lines that follow."""
        self._lines += ["", f"## {text}"] if self._lines else [f"## {text}"]

    def line(self, text: str) -> None:
        """A line as it is."""
        self._lines.append(text)

    def head(self, first: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """A status with headers, whose order says nothing. A length is written down where it is not the body's."""
        self._lines.append(f"< {first}")
        length = ("content-length", str(len(body)))
        headers = [
            (name, "<right>") if body and (name.lower(), value) == length else (name, value) for name, value in headers
        ]
        self._lines += [f"< {line}" for line in sorted(f"{name.lower()}: {value}" for name, value in headers)]

    def body(self, body: bytes, mark: str = "|") -> None:
        """Every byte of a body; nothing for none."""
        if body:
            self._lines += [mark + line for line in printed(body).split("\n")]

    def text(self) -> str:
        """All of it, without what differs from run to run."""
        return normalised("\n".join(self._lines) + "\n")


def printed(body: bytes) -> str:
    """Text in which only newlines and printable characters stand for themselves."""
    text = body.decode("utf-8", "backslashreplace")
    return "".join(char if char == "\n" or char.isprintable() else f"\\x{ord(char):02x}" for char in text)
