"""`connect` and `disconnect`: other programs' configuration, changed in place and put back to the byte."""
