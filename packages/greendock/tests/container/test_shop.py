"""``examples/shop-flask``, put on the template by its README, in production: rollouts with migrations under load."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.container.support import LONG, Stack, docker, inspect
from tests.support import ROOT, wait_for

SHOP = ROOT / "examples" / "shop-flask"
MIGRATION = """\
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{number:04}", "{before:04}"


def upgrade():
    {change}
"""
EXPAND = 'op.add_column("shop_order", sa.Column("note", sa.String))'
FILL = 'op.add_column("shop_order", sa.Column("gift", sa.Boolean, server_default=sa.false()))'
CONTRACT = 'op.drop_column("shop_order", "note")'


SETTINGS = """\
NGINX_KEEPALIVE_MIN_TIMEOUT=1s
GREENDOCK_ROLLOUT_WATCH=2
WEB_CONCURRENCY=1
BUILD_PACKAGES=patch
RUNTIME_PACKAGES=jq
BUILD_COMMAND=patch --version >app/static/built.txt && jq --version >>app/static/built.txt
"""


class Customers:
    """Four clients that order, without a pause but a short one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.placed = 0
        self.failed: list[str] = []

    def order(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(1.5):
                try:
                    answer = client.post(self._url, data={"product": "1"})
                    wrong = "" if answer.status_code == 200 else str(answer.status_code)
                except httpx.HTTPError as error:
                    wrong = repr(error)
                with self._lock:
                    self.placed += not wrong
                    self.failed += [wrong] if wrong else []

    @contextmanager
    def ordering(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.order) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


@pytest.fixture
def shop(stack: Stack) -> Stack:
    """The shop, healthy."""
    subprocess.run([SHOP / "stand-ins" / "build"], check=True, timeout=LONG)
    (stack.folder / ".env").write_text(SETTINGS)
    (commands,) = re.findall(r"```sh\n(.*?)```", (SHOP / "README.md").read_text(), re.DOTALL)
    stack.shell(commands)
    return stack


def next_version(shop: Stack, number: int, change: str) -> None:
    """Add a migration, and have the application answer another version."""
    text = MIGRATION.format(number=number, before=number - 1, change=change)
    (shop.folder / f"app/migrations/versions/{number:04}.py").write_text(text)
    main = shop.folder / "app/main.py"
    main.write_text(re.sub(r"VERSION = .*", f'VERSION = "{number}"', main.read_text()))


def test_a_shop_is_rolled_out_with_migrations_and_loses_neither_request_nor_job(shop: Stack) -> None:
    assert "text/css" in shop.get("/static/shop.css").headers["content-type"], "Node has built the assets"
    assert "GNU patch" in shop.get("/static/built.txt").text, "the build command's output is in the proxy's image too"
    assert shop.execute("app", "jq", "--version").returncode == 0
    assert shop.execute("app", "patch", "--version").returncode != 0, "what only the build needs is not in the image"
    photo = b"\x89PNG not really"
    added = shop.request("POST", "/products", data={"name": "Tea"}, files={"photo": ("tea.png", photo, "image/png")})
    assert added.status_code == 303
    (name,) = re.findall(r"/media/\w+\.png", shop.get("/").text)
    media = shop.get(name)
    assert (media.content, media.headers["server"]) == (photo, "nginx")

    customers = Customers(shop.url("/orders"))
    with customers.ordering():
        for number, change in enumerate((EXPAND, FILL, CONTRACT), 2):
            worker, scheduler = shop.container("worker"), shop.container("scheduler")
            next_version(shop, number, change)
            shop.rollout()
            assert shop.get("/orders").json()["version"] == str(number)
            assert shop.container("worker") != worker
            assert shop.container("scheduler") != scheduler

        next_version(shop, 5, 'op.execute("SELECT no_such_function()")')
        with pytest.raises(AssertionError, match=r"release command failed.*the old version serves"):
            shop.rollout()
        assert shop.get("/orders").json()["version"] == "4"
    assert customers.failed == []
    assert customers.placed > 0

    def all_shipped() -> bool:
        orders = shop.get("/orders").json()
        assert orders["placed"] == customers.placed
        return bool(orders["shipped"] == customers.placed)

    wait_for(all_shipped, "no job is lost", 120)
    database = shop.logs("db")
    assert [database.count(text) for text in ("ADD COLUMN note", "ADD COLUMN gift", "DROP COLUMN note")] == [1, 1, 1]
    wait_for(lambda: "app.jobs.count" in shop.logs("worker"), "the scheduler's job has run")
    assert shop.health("worker") == shop.health("scheduler") == "healthy"
    assert inspect(shop.container("worker"))["RestartCount"] == 0

    secret = (shop.folder / "secrets/database_password").read_text().strip()
    assert secret not in shop.logs()
    assert docker("exec", shop.container("nginx"), "ls", "/run/secrets", check=False).returncode != 0
