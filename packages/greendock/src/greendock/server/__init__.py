"""Gunicorn's configuration, from the environment to what ``gunicorn.conf.py`` hands over."""
