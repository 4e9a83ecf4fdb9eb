"""The directory of a gateway on this machine: where its `manage.py` is."""

from __future__ import annotations

from pathlib import Path

import gateway_client


def gateway_directory() -> Path | None:
    """Returns the directory of the checkout that we are in, or of the one that this program is part of."""
    here = Path.cwd()
    package = Path(gateway_client.__file__).resolve().parent
    for directory in (here, *here.parents, package.parent):
        if (directory / "manage.py").is_file() and (directory / "gateway_project").is_dir():
            return directory
    return None
