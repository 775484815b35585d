"""lean speaks HTTP/1.1 and WSGI (PEP 3333) as a server must, to well-behaved peers and applications and to others."""

from __future__ import annotations

import ast
import hashlib
import socket
from pathlib import Path

import pytest
from lean_server import until

SOURCE = Path(__file__).with_name("lean_app.py").read_bytes()


def request(target, *fields, method="GET", version="HTTP/1.1", body=b""):
    return "\r\n".join([f"{method} {target} {version}", "Host: a", *fields, "", ""]).encode("latin-1") + body


def test_requests_on_one_connection_are_answered_one_after_the_other(server):
    client = server.connect()
    for _ in range(3):
        client.send(request("/"))
        reply = client.reply()
        assert (reply.status, reply.body, reply.headers["Connection"]) == (200, b"hello\n", "keep-alive")
    assert reply.headers["Date"].endswith("GMT")
    assert reply.headers["Server"] == "gunicorn"


def test_pipelined_requests_are_answered_in_order(server):
    body = request("/digest", "Content-Length: 5", method="POST", body=b"hello")
    chunked = request("/lines", "Transfer-Encoding: chunked", method="POST", body=b"5\r\na\nbc\n\r\n0\r\n\r\n")
    client = server.connect(request("/header?HTTP_HOST") + body + chunked + request("/several") + request("/pid"))
    assert client.reply().body == b"a"
    assert client.reply().text.startswith(f"5 {hashlib.sha256(b'hello').hexdigest()}")
    assert client.reply().text == "[b'a\\n', b'bc\\n']"
    assert client.reply().body == b"abc"
    assert client.reply().text.isdigit()


def test_a_pipelined_request_after_an_unread_body_is_answered(server):
    body = request("/unread", "Content-Length: 3000", method="POST", body=b"x" * 3000)
    client = server.connect(body + request("/pid"))
    assert client.reply().body == b"not read"
    assert client.reply().text.isdigit()


def test_a_request_in_many_pieces_is_answered(server):
    client = server.connect()
    for byte in request("/digest", "Content-Length: 5", method="POST", body=b"hello"):
        client.send(bytes([byte]))
    assert client.reply().text.startswith("5 ")


def test_a_large_body_is_streamed_and_never_whole_in_memory(server):
    before = int(server.get("/digest", method="POST", body=b"").text.split()[2])
    blob = hashlib.sha256(b"x").digest() * 1024 * 64  # 2 MiB
    client = server.connect(request("/digest", f"Content-Length: {len(blob) * 16}", method="POST"))
    for _ in range(16):
        client.send(blob)
    size, digest, after = client.reply().text.split()
    assert (int(size), digest) == (len(blob) * 16, hashlib.sha256(blob * 16).hexdigest())
    assert int(after) - before < 12 * 1024


def test_a_body_nobody_reads_yet_is_left_to_the_sender(server, tmp_path):
    """Back-pressure: what the application does not read fills the kernel's buffers, not the worker."""
    client = server.connect(
        request(f"/held?{tmp_path}/arrived,{tmp_path}/release", "Content-Length: 999999999", method="POST")
    )
    client.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.send(b"x" * 50_000_000)
    (tmp_path / "release").touch()
    client.sock.settimeout(20)
    assert client.reply().body == b"held"
    assert client.sock.recv(1) == b""  # and the rest of the body is not waited for


def test_blocks_are_sent_as_they_are_produced(server, tmp_path):
    client = server.connect(request(f"/stream?{tmp_path}/go"))
    data = b""
    while b"first\r\n" not in data:
        data += client.sock.recv(65536)
    assert b"Transfer-Encoding: chunked" in data
    (tmp_path / "go").touch()
    while not data.endswith(b"0\r\n\r\n"):
        data += client.sock.recv(65536)
    assert data.endswith(b"\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")


def test_a_response_is_one_write(server):
    """Head and body arrive in one segment, also when the body is a list of several blocks."""
    for target in ("/", "/several", "/nothing"):
        client = server.connect(request(target))
        first = client.sock.recv(65536)
        client.sock.shutdown(socket.SHUT_WR)
        assert b"\r\n\r\n" in first
        assert client.rest() == b""


def test_write_sends_what_it_is_given_before_the_iterable(server):
    assert server.get("/writes").body == b"one two three"


def test_an_empty_response_is_complete(server):
    client = server.connect(request("/nothing") + request("/nothing", version="HTTP/1.0"))
    assert client.reply().body == b""
    assert client.rest().endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("route", ["status", "rude"])
def test_statuses_without_a_body_have_none_and_keep_the_connection(server, status, route):
    client = server.connect(request(f"/{route}?{status}") + request("/pid"))
    reply = client.reply()
    assert (reply.status, reply.body) == (status, b"")
    assert reply.headers["Transfer-Encoding"] is None
    assert status != 204 or reply.headers["Content-Length"] is None
    assert client.reply().text.isdigit()


@pytest.mark.parametrize("target", ["/", "/several", "/rude?200", "/file?0", "/stream?/"])
def test_head_is_answered_without_a_body(server, target):
    client = server.connect(request(target, method="HEAD") + request("/pid"))
    assert client.reply("HEAD").body == b""
    assert client.reply().text.isdigit()


def test_http_1_0_is_answered_unchunked_and_closed(server):
    data = server.connect(request("/writes", version="HTTP/1.0")).rest()
    assert data.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Transfer-Encoding" not in data
    assert b"Connection: close" in data
    assert data.endswith(b"\r\n\r\none two three")


def test_http_1_0_is_kept_alive_when_asked_and_the_length_is_known(server):
    client = server.connect()
    for _ in range(2):
        client.send(request("/", "Connection: keep-alive", version="HTTP/1.0"))
        assert client.reply().headers["Connection"] == "keep-alive"


def test_the_peers_wish_to_close_is_granted(server):
    data = server.connect(request("/", "Connection: close")).rest()
    assert b"Connection: close" in data
    assert data.endswith(b"hello\n")


def test_expect_100_continue_is_answered_before_the_body_is_sent(server):
    client = server.connect(request("/digest", "Expect: 100-continue", "Content-Length: 5", method="POST"))
    interim = b""
    while not interim.endswith(b"\r\n\r\n"):
        interim += client.sock.recv(1)
    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert client.reply().text.startswith("5 ")


def test_early_hints_come_before_the_response(server):
    client = server.connect(request("/hints"))
    interim = b""
    while not interim.endswith(b"\r\n\r\n"):
        interim += client.sock.recv(1)
    assert interim == b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    assert client.reply().body == b"hinted"


@pytest.mark.parametrize("query", ["0", "100", "100,50", "0,100000", f"{len(SOURCE)}"])
def test_a_file_is_sent_from_its_offset(server, query):
    offset, _, length = query.partition(",")
    expected = SOURCE[int(offset) :][: int(length or len(SOURCE))]
    client = server.connect(request(f"/file?{query}"))
    if length and len(expected) < int(length):
        assert client.rest().split(b"\r\n\r\n", 1)[1] == expected  # shorter than announced: closed
    else:
        assert client.reply().body == expected
        client.send(request("/pid"))
        assert client.reply().text.isdigit()
    assert b"".join(server.connect(request(f"/file?{query}", version="HTTP/1.0")).rest().split(b"\r\n\r\n", 1)[1:]) == (
        expected
    )


def test_a_large_response_arrives_whole(server):
    body = server.get("/big?20000000").body
    assert len(body) == 20_000_000


def test_a_body_shorter_than_announced_ends_the_connection(server):
    data = server.connect(request("/short") + request("/pid")).rest()
    assert data.endswith(b"\r\n\r\n12345")


def test_a_body_longer_than_announced_is_cut(server):
    client = server.connect(request("/long") + request("/pid"))
    assert client.reply().body == b"12345"
    assert client.reply().text.isdigit()


@pytest.mark.parametrize("route", ["fails", "fails-between", "fails-os", "never-starts", "strings", "splits"])
def test_an_error_before_the_head_is_a_500(server, route):
    data = server.connect(request(f"/{route}") + request("/pid")).rest()
    assert data.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert data.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in data
    assert b"evil" not in data


@pytest.mark.parametrize("route", ["fails-late", "excuses-late"])
def test_an_error_after_the_head_cuts_the_response_off(server, route):
    data = server.connect(request(f"/{route}") + request("/pid")).rest()
    assert data.endswith(b"\r\n\r\n5\r\nbegun\r\n")
    assert data.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("kind", ["system", "keyboard", "other"])
def test_an_application_that_raises_anything_ends_no_thread(server, kind):
    threads = 4
    for _ in range(threads + 1):
        assert server.get(f"/exits?{kind}").status == 500
    assert server.get("/pid").status == 200


def test_an_application_that_takes_the_socket_over_answers_by_itself(server):
    """As WebSocket libraries do: they use gunicorn.socket and end with StopIteration."""
    data = server.connect(request("/takes-over", "Connection: Upgrade", "Upgrade: websocket")).rest()
    assert data == b"HTTP/1.1 101 Switching Protocols\r\n\r\nas I like"


def test_exc_info_replaces_headers_that_were_not_sent(server):
    reply = server.get("/excuses")
    assert (reply.status, reply.body) == (503, b"sorry")
    assert reply.headers["X-First"] is reply.headers["Content-Length"] is None


def test_close_is_called_once_whatever_happens(start, tmp_path):
    server = start("--threads", "2")
    (tmp_path / "go").touch()
    server.get(f"/stream?{tmp_path}/go")
    for route in ("short", "long", "fails-late", "fails-between", "file?0"):
        server.connect(request(f"/{route}", "Connection: close")).rest()
    expected = ["between", "file", "late", "long", "short", "stream"]
    until(lambda: sorted(ast.literal_eval(server.get("/closes").text)) == expected)


def test_close_is_called_when_the_peer_goes_away(start, tmp_path):
    server = start("--threads", "2")
    client = server.connect(request(f"/stream?{tmp_path}/go"))
    while b"first" not in client.sock.recv(65536):
        pass
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    (tmp_path / "go").touch()
    until(lambda: server.get("/closes").text == "['stream']")
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n", 400),
        (request("/" + "a" * 5000), 414),
        (request("/", "X: " + "a" * 9000), 431),
        (request("/", *(f"X-{i}: a" for i in range(101))), 431),
        (request("/", "Expect: miracles"), 417),
        (request("/digest", "Transfer-Encoding: unknown", method="POST"), 501),
        (request("/digest", "Content-Length: 1", "Transfer-Encoding: chunked", method="POST"), 400),
        (request("/digest", "Transfer-Encoding: chunked", method="POST", body=b"zz\r\n"), 400),
    ],
)
def test_a_bad_request_is_refused_at_once_and_the_connection_closed(server, data, status):
    client = server.connect(data)
    reply = client.reply()
    assert (reply.status, reply.headers["Connection"]) == (status, "close")
    assert client.rest() == b""


@pytest.mark.parametrize("fields", [["Content-Length: 400000"], ["Content-Length: 400000", "Content-Length: 4"]])
def test_an_answer_is_not_lost_in_a_reset_when_the_body_is_not_read(server, fields):
    """RFC 9112 section 9.6: closing with unread input would destroy what was sent last."""
    data = server.connect(request("/unread", *fields, method="POST", body=b"x" * 400_000)).rest()
    assert data.endswith((b"not read", b"</html>\n"))


def test_a_refused_request_is_not_followed_by_the_next(server):
    data = server.connect(request("/pid", "Content-Length: 1", "Content-Length: 1") + request("/pid")).rest()
    assert data.count(b"HTTP/1.1") == 1
    assert data.startswith(b"HTTP/1.1 400 ")


def test_a_peer_that_is_done_sending_still_gets_its_answer(server):
    client = server.connect(request("/digest", "Content-Length: 5", method="POST", body=b"hello"))
    client.sock.shutdown(socket.SHUT_WR)
    assert client.rest().split(b"\r\n\r\n")[1].startswith(b"5 ")


def test_wsgiref_validate_finds_nothing(start):
    server = start("--threads", "2", app="lean_app:validated")
    assert server.get("/").body == b"hello\n"
    for target in ("/several", "/writes", "/digest", "/lines", "/file?0"):
        for method, body in (("GET", None), ("POST", b"hello\nworld"), ("POST", iter([b"hel", b"lo"]))):
            reply = server.get(target, method=method, body=body, headers={"Content-Type": "text/plain"})
            assert reply.status == 200, server.log
    assert server.get("/status?200").status == 500  # validate wants a Content-Type: it is watching
    assert server.log.count("Traceback") == 1


def test_a_flask_application_works(start):
    server = start("--threads", "2", app="lean_app:flask")
    reply = server.get("/json?a=%C3%A4", "POST", '{"x": 1}', {"Content-Type": "application/json", "User-Agent": "t"})
    assert reply.text.replace(" ", "").replace("\n", "") == '{"agent":"t","args":{"a":"\\u00e4"},"got":{"x":1}}'
    form = (
        '--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhi\r\n--b\r\nContent-Disposition: form-data; '
        f'name="file"; filename="f"\r\n\r\n{"x" * 100_000}\r\n--b--\r\n'
    )
    for body in (form.encode(), iter([form.encode()])):
        reply = server.get("/upload", "POST", body, {"Content-Type": "multipart/form-data; boundary=b"})
        assert reply.text.replace(" ", "").replace("\n", "") == '{"note":"hi","size":100000}'
    assert server.get("/stream").text == "0\n1\n2\n3\n4\n"
    assert server.get("/boom").status == 500
    assert server.get("/missing").status == 404
