"""Management commands for the event log."""
