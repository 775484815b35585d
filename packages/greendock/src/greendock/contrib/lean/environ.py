"""The WSGI environment of a request: what every request shares, what a connection adds, what the head says."""

from __future__ import annotations

import os
from typing import Any

from gunicorn import util
from gunicorn.http import wsgi

from greendock.contrib.lean.request import PlainRequest

_MAX_KNOWN_KEYS = 1024
_known_keys = {"CONTENT-TYPE": "CONTENT_TYPE", "CONTENT-LENGTH": "CONTENT_LENGTH"}


class Errors(wsgi.WSGIErrorsWrapper):  # type: ignore[misc]
    """``wsgi.errors`` of every request: one request must not close it for the others."""

    def close(self) -> None:
        """Stay open."""


def shared(cfg: Any) -> dict[str, Any]:
    """What is the same for every request of this worker process."""
    environ: dict[str, Any] = wsgi.base_environ(cfg)
    environ["wsgi.errors"] = Errors(cfg)
    environ["wsgi.multithread"] = True
    environ["SCRIPT_NAME"] = os.environ.get("SCRIPT_NAME", "")
    return environ


def of_connection(sock: Any, client: Any, server: Any) -> dict[str, Any]:
    """What is the same for every request of one connection (RFC 3875 section 4.1)."""
    environ = {"gunicorn.socket": sock}
    if isinstance(client, tuple):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
    else:
        environ["REMOTE_ADDR"] = client if isinstance(client, str) else client.decode()
    if isinstance(server, str):
        server = server.split(":")
    if len(server) > 1:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
    else:
        environ["SERVER_NAME"] = server[0]  # a unix socket: Host says the rest, see _name_server
    return environ


def build(req: Any, resp: wsgi.Response, base: dict[str, Any], connection: dict[str, Any]) -> dict[str, Any] | None:
    """The environment of ``req``, equal to ``gunicorn.http.wsgi.create``'s, or None where only that can say.

    Reads the request as hooks left it.
    """
    if not isinstance(req, PlainRequest):
        return None
    environ = base.copy()
    environ.update(connection)
    for name, value in req.headers:
        key = _known_keys.get(name) or _key(name)
        if key is None or key in environ:
            return None  # repeated, or mapped in a way header_map must decide
        environ[key] = value
    path = req.path
    script_name = environ["SCRIPT_NAME"]
    if script_name:
        if not path.startswith(script_name):
            return None
        path = path[len(script_name) :]
    environ["PATH_INFO"] = util.unquote_to_wsgi_str(path) if "%" in path else path
    environ["REQUEST_METHOD"] = req.method
    environ["QUERY_STRING"] = req.query
    environ["RAW_URI"] = req.uri
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if req.version == (1, 1) else "HTTP/1.0"
    environ["wsgi.url_scheme"] = req.scheme
    environ["wsgi.input"] = req.body
    environ["wsgi.early_hints"] = wsgi._make_early_hints_callback(req, resp.sock, resp)
    if "SERVER_PORT" not in environ:
        _name_server(environ)
    return environ


def _key(name: str) -> str | None:
    if "_" in name:
        return None
    key = "HTTP_" + name.replace("-", "_")
    if len(_known_keys) < _MAX_KNOWN_KEYS and len(name) <= 64:
        _known_keys[name] = key
    return key


def _name_server(environ: dict[str, Any]) -> None:
    """Make up the server of a request that came by a unix socket, as Gunicorn does: from ``Host``, if there is one."""
    port = ""
    if host := environ.get("HTTP_HOST"):
        environ["SERVER_NAME"], *ports = host.split(":")
        port = ports[0] if ports else {"http": "80", "https": "443"}[environ["wsgi.url_scheme"]]
    environ["SERVER_PORT"] = port
