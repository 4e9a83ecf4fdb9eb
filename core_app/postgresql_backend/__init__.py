"""Django's PostgreSQL backend with a quick answer while the server is away."""
