"""Logs, metrics and traces of the process."""
