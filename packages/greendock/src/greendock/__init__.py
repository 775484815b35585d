"""Greendock: the machinery behind ``gunicorn.conf.py``."""
