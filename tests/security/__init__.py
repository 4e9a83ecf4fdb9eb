"""Attacks that were tried and held, in groups (`attacks.GROUPS`), generated from the registries where there is one."""
