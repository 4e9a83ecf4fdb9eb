"""The demo provider: scripts in place of models, for sessions and for relayed requests, offline and free of charge."""
