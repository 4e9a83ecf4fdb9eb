"""Services that change sessions. Events are appended in the transaction that makes the change."""
