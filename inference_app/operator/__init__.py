"""The operator's settings in the database: their services, their refresh in every process, and their admin."""
