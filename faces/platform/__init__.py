"""The platform face: what an operator sets up, over REST, for keys with the scope `platform`.

Tenants, their keys, people, providers, prices and budgets, as docs/platform-api.md describes it.
"""
