"""Wire protocols, one package each; its `face.FACE` is everything that it adds. No package imports another.

May import: sessions_app and every room below it.
Imported by: nothing; `FACES` in the settings names the packages.
"""
