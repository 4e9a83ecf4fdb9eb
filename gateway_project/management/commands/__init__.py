"""The commands that start processes and keep data: serve, worker, prepare, doctor, backup, restore, reseal."""
