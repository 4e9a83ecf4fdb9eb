"""The native protocol: sessions over REST, server-sent events and WebSocket (docs/protocol-native.md).

May import every room below `faces`, but no other face. Imported by nobody: the settings name it.
"""
