"""Sockets: the base consumer and connection, their writer, the order of replies and events, and close codes."""
