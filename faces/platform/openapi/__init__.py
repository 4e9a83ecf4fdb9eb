"""The platform face's share of the OpenAPI document."""
