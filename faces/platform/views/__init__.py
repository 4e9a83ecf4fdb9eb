"""Viewsets of the platform face."""
