"""The commands about tenants, keys, people and usage."""
