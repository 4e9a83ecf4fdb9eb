"""Request conversions: one module per dialect into chat completions, one per wire out of it."""
