"""The life of a process: its start, its parts, its server and its locks."""
