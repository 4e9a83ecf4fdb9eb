"""Writers: one per client dialect, from steps to a response."""
