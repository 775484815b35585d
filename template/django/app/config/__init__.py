"""The Django project. What is here is a small sample: add your applications beside it."""
