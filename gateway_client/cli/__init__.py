"""The command line `agent-gateway`. Nothing else of the package imports it, because typer and rich are an extra."""
