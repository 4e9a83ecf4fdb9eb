"""The commands `apikey` and `usage`."""
