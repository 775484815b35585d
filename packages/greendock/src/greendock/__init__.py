"""Greendock: Nginx in front of Gunicorn, configured by environment variables.

The rooms, in the order things happen: ``env`` (variables and where their values come from), ``host`` (what the machine
allows), ``hooks`` (events, chains, plugins), ``runtime`` (readiness, shutdown, healthcheck), ``server`` (Gunicorn's
configuration), ``proxy`` (Nginx's), ``command`` (the ``greendock`` command), ``rollout`` (a new version), ``testing``
(for your own tests), ``contrib`` (the plugins and worker classes that come along).
"""

__version__ = "0.3.0"
