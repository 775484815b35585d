"""Applications that close their socket, fork or lie about lengths, and moments in which a stop arrives badly."""

from __future__ import annotations

import select
import signal

from lean_server import until

APP = "lean_edge_app:app"


def request(target, *fields, method="GET", version="1.1"):
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: a", *fields, "", ""]).encode()


def test_an_application_that_closes_its_socket_loses_nobody_elses_request(start, tmp_path):
    server = start("--threads", "4", app=APP)
    arrived, release = tmp_path / "arrived", tmp_path / "release"
    websocket = server.connect(request(f"/closes_socket?{arrived},{release}"))
    until(arrived.exists)
    others = [server.connect(request("/pid")) for _ in range(3)]  # one of them gets the descriptor's number
    assert [other.reply().status for other in others] == [200] * 3
    release.touch()
    websocket.rest()
    until(lambda: server.get("/pid").status == 200)
    for other in others:
        other.send(request("/pid"))
        assert other.reply().status == 200


def test_a_socket_that_waited_for_a_body_may_wait_for_longer_than_timeout_when_it_is_taken_over(start):
    server = start("--threads", "2", "--timeout", "1", "--keep-alive", "20", app=APP)
    client = server.connect(request("/swallow", "Content-Length: 5", "Expect: 100-continue", method="POST"))
    assert client.sock.recv(100).startswith(b"HTTP/1.1 100 ")
    select.select([client.sock], [], [], 0.2)  # the worker waits for the body
    client.send(b"hello")
    assert client.reply().text == "5"
    client.send(request("/listens"))
    assert client.sock.recv(100).startswith(b"HTTP/1.1 101 ")
    select.select([client.sock], [], [], 1.5)
    client.send(b"ping")
    assert client.rest() == b"got ping"


def test_a_negative_length_sends_no_body(start):
    client = start(app=APP).connect(request("/negative", "Connection: close"))
    assert client.rest().endswith(b"\r\n\r\n")


def test_a_file_after_written_blocks_ends_where_content_length_says(start, tmp_path):
    (tmp_path / "file").write_bytes(b"abcdefghijklmnop")
    client = start(app=APP).connect(request(f"/write_then_file?{tmp_path}/file", "Connection: close"))
    assert client.rest().endswith(b"\r\n\r\n01234abcde")


def test_a_response_ends_although_a_child_of_the_application_has_its_socket(start, tmp_path):
    server = start("--threads", "2", app=APP)
    client = server.connect(request(f"/forks?{tmp_path}/release", version="1.0"), timeout=5)
    assert client.rest().endswith(b"forked")
    (tmp_path / "release").touch()


def test_a_worker_whose_application_has_forked_stops(start, tmp_path):
    server = start("--threads", "30", app=APP)
    client = server.connect(request(f"/forks?{tmp_path}/release"))
    assert client.reply().text == "forked"
    client.close()
    server.signal(signal.SIGTERM)
    server.wait()
    (tmp_path / "release").touch()


def test_a_peer_that_says_more_after_asking_to_close_gets_its_whole_response(start):
    client = start("--threads", "2").connect(request("/big?3000000", "Connection: close"))
    client.sock.recv(1)
    client.send(b"\r\n")
    assert client.rest().count(b"x") >= 3_000_000


def test_a_stopping_worker_out_of_descriptors_still_serves_its_queue(start):
    limit = "import resource\ndef post_worker_init(worker): resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))"
    server = start("--threads", "2", conf=limit)
    silent = [server.connect() for _ in range(40)]
    until(lambda: "Cannot accept a connection" in server.log)
    late = server.connect(request("/pid"))
    server.signal(signal.SIGTERM)
    until(lambda: "Handling signal: term" in server.log)
    for client in silent:
        client.close()
    assert late.reply().status == 200


def test_a_connection_parked_while_the_worker_stops_does_not_hold_it_until_graceful_timeout(start):
    slow = """
import time
from greendock.contrib.lean import LeanWorker
park = LeanWorker.park
def park_late(self, conn):
    while conn.requests == 2 and self.alive:  # loses the CPU here until the stop has begun
        time.sleep(0.01)
    if conn.requests == 2:
        time.sleep(0.3)
    park(self, conn)
LeanWorker.park = park_late
"""
    server = start("--threads", "2", "--keep-alive", "60", "--graceful-timeout", "8", conf=slow)
    client = server.connect(request("/pid"))
    client.reply()
    client.send(request("/pid"))
    client.reply()
    server.signal(signal.SIGTERM)
    server.wait()
    assert "unfinished" not in server.log
