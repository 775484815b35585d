"""The Nginx edge: its variables, and the program that renders its configuration."""
