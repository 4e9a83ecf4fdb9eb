"""`agent-gateway` and `python -m gateway_client`: the command line, or the sentence that says what it needs."""

from __future__ import annotations

import importlib
import sys

NEEDED = {"typer", "rich", "tomlkit", "yaml"}


def main() -> None:
    """Runs the command line; its libraries are an extra of the package."""
    try:
        command_line = importlib.import_module("gateway_client.cli.main")
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        sys.exit(f"The command line needs the package '{error.name}': pip install 'agent-gateway-client[cli]'")
    command_line.run()


if __name__ == "__main__":
    main()
