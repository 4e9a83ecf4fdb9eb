"""The Codelab protocol: an IDE's socket, and tools that the IDE runs for an agent runtime."""
