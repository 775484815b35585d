"""The Nginx side: one schema of ``NGINX_*`` variables, the rendered configuration, and the proxy's own commands.

Standard library only: the proxy's image has Python but no packages.
"""
