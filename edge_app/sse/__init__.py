"""Server-sent events: the bytes of frames, the base consumer of event streams, and the writer of a response."""
