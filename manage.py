#!/usr/bin/env python
"""The command `gateway` of this checkout; `.venv/bin/gateway` runs this file."""

from __future__ import annotations

import sys

from gateway_project.command_line import main

if __name__ == "__main__":
    main(["gateway", *sys.argv[1:]])
