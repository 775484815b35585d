"""The ``greendock`` command."""
