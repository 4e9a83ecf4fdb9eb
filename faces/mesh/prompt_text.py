"""The text of a task as its agents get it: the task, then the artifacts and files that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest
from faces.mesh.models import Artifact, Space

MAX_FILE = 20_000
"""Characters of a text file that an agent gets."""

MAX_FILES = 100_000
"""Characters of all files and artifacts together."""


def prompt_text(text: str, *, artifacts: Sequence[Any], files: Sequence[str], space: Space | None) -> str:
    """Returns the prompt. Raises BadRequest for files without a space, or with a name that the space does not have."""
    parts, left = [text], MAX_FILES
    for title, content in [*_artifacts(artifacts), *_files(files, space)]:
        shown = content[: min(MAX_FILE, left)]
        left -= len(shown)
        cut = "\n(cut)" if len(shown) < len(content) else ""
        parts.append(f"{title}\n{shown}{cut}" if shown else title)
    return "\n\n".join(parts)


def _artifacts(artifacts: Sequence[Any]) -> list[tuple[str, str]]:
    return [(f"Artifact {number}:", _shown(item)) for number, item in enumerate(artifacts, start=1)]


def _shown(item: Any) -> str:
    return item if isinstance(item, str) else jsontext.encode_text(item)


def _files(files: Sequence[str], space: Space | None) -> list[tuple[str, str]]:
    if not files:
        return []
    if space is None:
        raise BadRequest("'payload.files' needs 'payload.context.shared_space_id'.", field="payload.files")
    found = {artifact.name: artifact for artifact in Artifact.objects.filter(space=space, name__in=files)}
    for name in files:
        if name not in found:
            raise BadRequest(f"The space has no artifact {name!r}.", field="payload.files")
    return [(_title(found[name]), found[name].text) for name in files]


def _title(artifact: Artifact) -> str:
    return f"File {artifact.name} ({artifact.media_type}, {artifact.size} bytes):"
