"""Programs that an operator has configured as agents: how they are started, limited and ended, and their formats."""
