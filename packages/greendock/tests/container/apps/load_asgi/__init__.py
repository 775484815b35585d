"""The application of the load tests; it takes the place of the template's sample."""
