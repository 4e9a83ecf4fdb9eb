"""The work of the operator commands: doctor, backup and secret rotation."""
