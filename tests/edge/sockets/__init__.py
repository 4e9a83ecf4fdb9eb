"""Tests of the base of sockets, with a small protocol of their own (`toy.py`)."""
