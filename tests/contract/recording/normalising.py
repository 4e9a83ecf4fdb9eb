"""Replacements for what differs between two runs of the same gateway; everything else is compared byte by byte.

RULES is the whole list. A numbered value is called by the order of its first appearance in its file, so that two
places that named the same thing still have to name the same thing: `<run 2>` is one run wherever it stands.
"""

from __future__ import annotations

import re
from collections import defaultdict

Numbers = dict[str, dict[str, int]]

NUMBERED: tuple[tuple[str, str], ...] = (
    # An id: the noun, then 26 characters that hold a time and randomness.
    ("", r"(?<![A-Za-z0-9])(?P<noun>[a-z]{2,8})_[0-9a-hjkmnp-tv-z]{26}(?![a-z0-9])"),
    # A stream token and an API key.
    ("token", r"\bag[tw]_[A-Za-z0-9_-]{43}"),
    # The secret of a webhook.
    ("secret", r"\bwhsec_[A-Za-z0-9+/=]{24,}"),
    # The credential at the end of a callback's `resultUrl`.
    ("result token", r"(?<=/v1/callbacks/)(?!no-)[^\s\"/?]{20,}"),
)
"""Names and expressions of values that are told apart; an id's name is its own noun."""

RULES: tuple[tuple[str, str], ...] = (
    # Instants: in JSON, in the answer of the tool `current_time`, in `Date`.
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?", "<time>"),
    (r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", "<time>"),
    (r'(?<="day":")\d{4}-\d\d-\d\d', "<day>"),
    # Seconds since the epoch.
    (r'(?<="created":)\s*1[7-9]\d{8}\b', "<seconds>"),
    (r'(?<="created_at":)\s*1[7-9]\d{8}\b', "<seconds>"),
    (r'(?<="completed_at":)\s*1[7-9]\d{8}\b', "<seconds>"),
    (r'(?<="timestamp":)1[7-9]\d{11}\b', "<milliseconds>"),
    (r'(?<="timestamp":)1[7-9]\d{8}\.\d+', "<seconds>"),
    (r'(?<="uptime":)[\d.]+', "<seconds>"),
    (r"(?<=webhook-timestamp: )\d+", "<seconds>"),
    # Signatures over those.
    (r"\bv1,[A-Za-z0-9+/=]{44}", "v1,<signature>"),
    # Durations.
    (r'(?<="durationMs":)\d+', "<ms>"),
    (r'(?<="uptimeMs":)\d+', "<ms>"),
    (r'(?<="latency_ms":)\s*[\d.]+', "<ms>"),
    # What a process counts for its probe, as of some moment ago.
    (r'(?<="sessions":\{"active":)\d+', "<n>"),
    (r'(?<="tracked_keys":)\d+', "<n>"),
    # A row of a table whose sequence has gaps.
    (r"(?<=[?&]cursor=)\d+", "<row>"),
    (r'(?<="nextCursor":")\d+', "<row>"),
    # Ports of this machine.
    (r"\b127\.0\.0\.1:(?!9\b|1\b)\d+", "127.0.0.1:<port>"),
    # A bucket that fills with time, and the pause that it asks for.
    (r'(?<="default");r=\d+;t=\d+', ";r=<n>;t=<s>"),
    (r"(?<=retry-after: )\d+", "<s>"),
    # Of a document whose prose may change.
    (r"(?<=etag: )\"[0-9a-f]{32}\"", "<etag>"),
    # The pause before a reader of a stream comes back is random.
    (r"(?<=retry: )[123]\d{3}\b", "<ms>"),
)
"""Expressions and what stands for whatever they match."""

_NUMBERED = [(name, re.compile(expression)) for name, expression in NUMBERED]
_RULES = [(re.compile(expression), replacement) for expression, replacement in RULES]


def normalised(text: str) -> str:
    """The text without what differs from run to run."""
    numbers: Numbers = defaultdict(dict)
    for name, expression in _NUMBERED:
        text = expression.sub(lambda found, name=name: _called(found, name, numbers), text)  # type: ignore[misc]
    for expression, replacement in _RULES:
        text = expression.sub(replacement, text)
    return text


def _called(found: re.Match[str], name: str, numbers: Numbers) -> str:
    name = name or found["noun"]
    known = numbers[name]
    return f"<{name} {known.setdefault(found[0], len(known) + 1)}>"
