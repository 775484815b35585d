"""Your application. What is here is a small Flask sample: replace it."""
