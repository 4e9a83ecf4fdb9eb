"""Management commands for sessions."""
