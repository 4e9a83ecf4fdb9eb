"""Formats for the language `en`, the only one."""
