"""Routing: which agents a task without a target goes to. Pure functions over rules and agents.

Rules are tried by priority, the highest first. A keyword matches whole words whatever their case; one that has
characters of a script without spaces (Chinese, Japanese, Thai …) matches anywhere. A rule counts only if one of its
agents has the required capabilities and is not offline. After the rules comes any agent with the capabilities, if the
task requires some, and then the default agent. There is no other fallback.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from faces.mesh.scripts import UNSPACED, fold

_HAS_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = rf"[^\W{UNSPACED}]"
"""A character of a word in a script with spaces: next to one of another script a word ends."""

_BUSINESS = {"online": 0, "busy": 1}


@dataclass(frozen=True, slots=True)
class Rule:
    """Tasks with one of `keywords` go to the first able agent of `agents`, or with `broadcast` to all of them."""

    name: str
    keywords: tuple[str, ...]
    agents: tuple[str, ...]
    broadcast: bool = False
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent as routing sees it."""

    id: str
    capabilities: frozenset[str]
    status: str
    """online, busy or offline."""

    def can(self, required: Collection[str]) -> bool:
        """True when it has every capability."""
        return self.capabilities.issuperset(required)


@dataclass(frozen=True, slots=True)
class Route:
    """The agents of a task; the name of the rule that chose them, None without one."""

    agents: tuple[str, ...]
    broadcast: bool = False
    rule: str | None = None


def route(
    text: str,
    *,
    rules: Iterable[Rule],
    agents: Sequence[Candidate],
    required: Collection[str] = (),
    default: str | None = None,
) -> Route | None:
    """Returns the route of a task, None when nobody is available."""
    able = {agent.id: agent for agent in agents if agent.can(required)}
    folded = fold(text)
    for rule in sorted(rules, key=lambda rule: -rule.priority):
        if any(matches(keyword, folded) for keyword in rule.keywords) and (chosen := _choose(rule, able)):
            return Route(chosen, rule.broadcast, rule.name)
    present = sorted((a for a in able.values() if a.status in _BUSINESS), key=lambda a: (_BUSINESS[a.status], a.id))
    if required and present and (default is None or default not in {agent.id for agent in present}):
        return Route((present[0].id,))
    if default is not None and default in able and able[default].status in _BUSINESS:
        return Route((default,))
    return None


def matches(keyword: str, folded: str) -> bool:
    """True when the keyword stands in the text, which `fold` has made."""
    pattern = _pattern(keyword)
    return pattern is not None and pattern.search(folded) is not None


@lru_cache(maxsize=4096)
def _pattern(keyword: str) -> re.Pattern[str] | None:
    words = fold(keyword).split()
    if not words:
        return None
    body = r"\s+".join(map(re.escape, words))
    if _HAS_UNSPACED.search(body):
        return re.compile(body)
    before = rf"(?<!{_WORD})" if re.match(_WORD, words[0]) else ""
    after = rf"(?!{_WORD})" if re.search(rf"{_WORD}\Z", words[-1]) else ""
    return re.compile(before + body + after)


def _choose(rule: Rule, able: Mapping[str, Candidate]) -> tuple[str, ...]:
    agents = [able[agent] for agent in dict.fromkeys(rule.agents) if agent in able]
    present = [agent for agent in agents if agent.status in _BUSINESS]
    if not present:
        return ()
    if rule.broadcast:
        # With those that are offline: their failure is shown in the result.
        return tuple(agent.id for agent in agents)
    return (min(present, key=lambda agent: _BUSINESS[agent.status]).id,)
