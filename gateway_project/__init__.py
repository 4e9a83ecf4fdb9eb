"""The wiring: settings, the process and its commands, the HTTP application made from the faces, observability.

Imports every room. Imported by none.
"""
