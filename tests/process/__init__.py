"""The server's protocols and its table of connections, without sockets."""
