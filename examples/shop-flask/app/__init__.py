"""A small shop: Flask, SQLAlchemy, Celery."""
