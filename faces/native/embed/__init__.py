"""The chat to embed: the frame, its script, and the few paths that its tokens may use."""
