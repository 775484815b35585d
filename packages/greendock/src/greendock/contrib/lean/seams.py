"""What ``lean`` uses of Gunicorn beyond its documented interface. A test holds the installed Gunicorn to it."""

from __future__ import annotations

from gunicorn import __version__

#: Releases whose parser was compared with this one, request by request. With any other, Gunicorn's own parses all.
TESTED = ("27.0.1",)


def is_tested() -> bool:
    """Whether the installed Gunicorn is one of ``TESTED``."""
    return __version__ in TESTED


#: By module or class of Gunicorn: names that are called, overridden or read, and the parameters they must have.
SEAMS: dict[str, dict[str, tuple[str, ...]]] = {
    "http.body:Body": {"_read_reader": ("self", "size"), "getsize": ("self", "size"), "read": ("self", "size")},
    "http.body:LengthReader": {"__init__": ("self", "unreader", "length"), "read": ("self", "size")},
    "http.message:HeaderPolicy": {"_peer_trusted_for_forwarded": ("self",)},
    "http.message:Request": {
        "__init__": ("self", "cfg", "unreader", "peer_addr", "req_number"),
        "parse": ("self", "unreader"),
        "set_body_reader": ("self",),
        "should_close": ("self",),
    },
    "http.unreader:Unreader": {
        "__init__": ("self",),
        "chunk": ("self", "size_hint"),
        "read": ("self", "size", "read_ahead"),
        "take_buffered": ("self",),
        "unread": ("self", "data"),
    },
    "http.wsgi": {
        "_make_early_hints_callback": ("req", "sock", "resp"),
        "base_environ": ("cfg",),
        "create": ("req", "sock", "client", "server", "cfg", "response_class", "response_args"),
    },
    "http.wsgi:FileWrapper": {"__init__": ("self", "filelike", "blksize")},
    "http.wsgi:WSGIErrorsWrapper": {"__init__": ("self", "cfg"), "write": ("self", "data")},
    "http.wsgi:Response": {
        "__init__": ("self", "req", "sock", "cfg"),
        "can_sendfile": ("self",),
        "is_chunked": ("self",),
        "process_headers": ("self", "headers"),
        "send_headers": ("self",),
        "sendfile": ("self", "respiter"),
        "should_close": ("self",),
        "start_response": ("self", "status", "headers", "exc_info"),
        "write": ("self", "arg"),
        "write_file": ("self", "respiter"),
    },
    "workers.base:Worker": {
        "handle_error": ("self", "req", "client", "addr", "exc"),
        "handle_exit": ("self", "sig", "frame"),
        "handle_usr1": ("self", "sig", "frame"),
        "init_process": ("self",),
        "notify": ("self",),
    },
    "util": {
        "has_fileno": ("obj",),
        "http_date": ("timestamp",),
        "unquote_to_wsgi_str": ("string",),
        "write_error": ("sock", "status_int", "reason", "mesg"),
    },
}

#: What is read of Gunicorn's objects, by class.
ATTRIBUTES = {
    "http.message:Request": (
        *("_expected_100_continue", "_fast_limit_request_line", "_use_fast", "body", "cfg", "fragment", "headers"),
        *("limit_request_field_size", "limit_request_fields", "limit_request_line", "max_buffer_headers", "method"),
        *("must_close", "path", "peer_addr", "proxy_protocol_info", "query", "remote_addr", "req_number", "scheme"),
        *("trailers", "unreader", "uri", "version"),
    ),
    "http.wsgi:Response": (
        *("_omits_body", "_omits_body_warned", "cfg", "chunked", "headers", "headers_sent", "must_close", "req"),
        *("response_length", "sent", "sock", "status", "upgrade", "version"),
    ),
    "workers.base:Worker": (
        *("age", "alive", "app", "aborted", "booted", "cfg", "log", "max_requests", "nr", "pid", "ppid", "reloader"),
        *("sockets", "timeout", "tmp"),
    ),
}
