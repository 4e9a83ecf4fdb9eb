"""Chat completions and messages in the background: the same promise as a background response, in their own dialects."""
