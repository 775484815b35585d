"""A running server: readiness, shutdown, and the healthcheck that reads about both."""
