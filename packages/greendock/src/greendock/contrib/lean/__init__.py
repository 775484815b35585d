"""The ``lean`` worker class: WSGI over HTTP/1.1 for a Gunicorn that lives behind Nginx.

``connection`` holds the socket and finds request heads, ``request`` turns a head into a request, ``environ`` a
request into the WSGI environment, ``response`` writes the answer, ``serving_token`` decides how many threads serve at
once, ``children`` ends what a request has forked, and ``worker`` waits, accepts, serves and stops. See docs/lean.md.

``seams`` names what is used of Gunicorn beyond its documented interface.
"""

from greendock.contrib.lean.worker import LeanWorker

__all__ = ["LeanWorker"]
