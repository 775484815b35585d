"""Replicas come and go under load, by Compose and Docker's DNS alone, and nothing is lost."""

from __future__ import annotations

import pytest

from greendock.testing.load import load
from tests.container.stack import use_asgi
from tests.container.support import Stack
from tests.support import wait_for

APPLICATION = """
import os, time
def app(environ, start_response):
    environ["wsgi.input"].read()
    time.sleep(0.002)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.uname().nodename.encode()]
"""


ASGI = """
import asyncio, os
async def app(scope, receive, send):
    while (await receive())["more_body"]:
        pass
    await asyncio.sleep(0.002)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": os.uname().nodename.encode()})
"""


@pytest.mark.parametrize("worker_class", ["lean", "asgi"])
def test_scaling_from_one_to_three_and_back_loses_no_request(stack: Stack, worker_class: str) -> None:
    (stack.folder / "app" / "main.py").write_text(ASGI if worker_class == "asgi" else APPLICATION)
    if worker_class == "asgi":
        use_asgi(stack)
    stack.environment |= {"GREENDOCK_DRAIN_SECONDS": "2", "WEB_CONCURRENCY": "1"}
    (stack.folder / ".env").write_text(f"GREENDOCK_DRAIN_SECONDS=2\nGUNICORN_WORKER_CLASS={worker_class}\n")
    stack.up()
    with load(stack.url(), rate=100) as gets, load(stack.url(), rate=100, post=True) as posts:
        stack.compose("up", "--wait", "--no-recreate", "--scale", "app=3")
        hosts: set[str] = set()

        def all_three() -> bool:
            hosts.add(stack.get().text)
            return len(hosts) == 3

        wait_for(all_three, "each replica has answered")
        stack.compose("up", "--wait", "--no-recreate", "--scale", "app=1")
    table = f"GET {gets.result.outcomes} p99 {gets.result.p99}, POST {posts.result.outcomes} p99 {posts.result.p99}"
    print(table)
    assert gets.result.failed + posts.result.failed == 0, table
