"""Your application."""
