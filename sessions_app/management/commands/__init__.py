"""Management commands for sessions: erase, export and retention."""
