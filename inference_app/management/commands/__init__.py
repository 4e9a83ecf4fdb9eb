"""The command `provider`."""
