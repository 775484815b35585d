"""Gunicorn's hooks: the events, chains of callables for each, and the plugins that bring some."""
