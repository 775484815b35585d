"""The ``lean`` worker class: WSGI over HTTP/1.1 for a Gunicorn that lives behind Nginx.

``connection`` holds the socket and finds request heads, ``request`` turns a head into a request, ``environ`` a
request into the WSGI environment, ``response`` writes the answer, ``turn`` decides how many threads serve at once, and
``worker`` waits, accepts, serves and stops. See docs/lean.md.
"""

from greendock.contrib.lean.worker import LeanWorker

__all__ = ["LeanWorker"]
