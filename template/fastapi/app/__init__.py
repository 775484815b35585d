"""Your application. What is here is a small FastAPI sample: replace it."""
