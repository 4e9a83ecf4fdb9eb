"""Scripts that run in the containers of docker-compose.yml, with the standard library alone."""
