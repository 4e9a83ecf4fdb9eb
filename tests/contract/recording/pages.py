"""The pages beside the protocol: probes, the names of the metrics, the document and its reader."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.contract.recording.client import Client

PROSE = ("description", "summary")
DATA = ("default", "enum", "const", "example", "examples")
"""Keys of a document under which there are values of the protocol and no prose about it."""

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? \S+")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
OF_THE_MACHINE = ("python_info",)
"""Metrics whose labels tell the version of Python."""


def record(client: Client) -> None:
    """The section."""
    client.transcript.title("probes")
    for path in ("/healthz", "/readyz", "/health", "/status"):
        for who in (None, "owner", "colleague"):
            client.get(path, who=who)
        client.post(path, {})
        if path in ("/healthz", "/readyz"):  # the other bodies are as long as their times happen to be
            client.ask("HEAD", path, who=None)
    client.transcript.title("pages")
    for path in ("/docs", "/docs/start.js", "/admin", "/", "/favicon.ico"):
        client.get(path, who=None)
    client.transcript.title("metrics")
    for who in (None, "colleague", "stranger"):
        client.get("/metrics", who=who)
    client.post("/metrics", {})
    answer = client.quietly("GET", "/metrics")
    client.transcript.line(f"< {answer.status} {answer.headers['content-type']}")
    for line in metrics(answer.body.decode()):
        client.transcript.line(line)
    client.transcript.title("the head of the document")
    answer = client.quietly("GET", "/openapi.json", who=None)
    # Its texts for people are part of the tag.
    headers = {**answer.headers, "etag": "<etag>"}
    client.transcript.head(str(answer.status), headers.items(), answer.body)
    client.post("/openapi.json", {})


def document(client: Client) -> None:
    """A file of its own: the OpenAPI document without its prose."""
    answer = client.quietly("GET", "/openapi.json", who=None)
    client.transcript.line(json.dumps(reduced(answer.json), indent=1, sort_keys=True, ensure_ascii=False))


def reduced(node: Any) -> Any:
    """A part of an OpenAPI document without texts for people."""
    if isinstance(node, list):
        return [reduced(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {name: value for name, value in node.items() if not (name in PROSE and isinstance(value, str))}
    return {name: value if name in DATA else reduced(value) for name, value in kept.items()}


def metrics(exposition: str) -> list[str]:
    """Each metric's type, and each series' name and labels; no values and no bounds of buckets."""
    found = []
    for line in exposition.splitlines():
        if line.startswith("# TYPE "):
            found.append(line)
        elif not line.startswith("#"):
            sample = _SAMPLE.fullmatch(line)
            assert sample is not None, line
            labels = [(name, value) for name, value in _LABEL.findall(sample["labels"] or "") if name != "le"]
            shown = ",".join(
                name if sample["name"] in OF_THE_MACHINE else f'{name}="{value}"' for name, value in labels
            )
            found.append(f"{sample['name']}{{{shown}}}")
    return sorted(set(found))
