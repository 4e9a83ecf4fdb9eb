"""Settings: their reader, the database settings, system checks, and the check of the configuration file."""
