"""``examples/shop-*``, made by their READMEs, in production: rollouts with migrations under load."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from greendock.testing.stack import Stack
from tests.container.support import LONG, docker, inspect
from tests.process.test_template import project_environment
from tests.process.test_template import template as template
from tests.support import ROOT, wait_for

EXAMPLES = ROOT / "examples"
EXPAND = "ALTER TABLE shop_order ADD COLUMN note varchar NOT NULL DEFAULT ''"
EXPAND_AGAIN = "ALTER TABLE shop_order ADD COLUMN gift boolean NOT NULL DEFAULT false"
CONTRACT = "ALTER TABLE shop_order DROP COLUMN note"


@dataclass(frozen=True)
class Example:
    """One of the shops: where its version and its migrations are, and what they look like."""

    name: str
    settings: str
    version: str
    migrations: str
    first: str
    migration: str

    def __str__(self) -> str:
        return self.name


FLASK = Example(
    name="shop-flask",
    settings="""\
BUILD_PACKAGES=patch
RUNTIME_PACKAGES=jq
BUILD_COMMAND=patch --version >app/static/built.txt && jq --version >>app/static/built.txt
""",
    version="app/main.py",
    migrations="app/migrations/versions",
    first="0001",
    migration="""\
from alembic import op

revision, down_revision = "{name}", "{before}"


def upgrade():
    op.execute("{change}")
""",
)
DJANGO = Example(
    name="shop-django",
    settings="",
    version="app/shop/views.py",
    migrations="app/shop/migrations",
    first="0001_initial",
    migration="""\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "{before}")]
    operations = [migrations.RunSQL("{change}")]
""",
)
# Short where nothing is measured.
SETTINGS = "NGINX_KEEPALIVE_MIN_TIMEOUT=1s\nGREENDOCK_ROLLOUT_WATCH=2\nWEB_CONCURRENCY=1\nGREENDOCK_DRAIN_SECONDS=0\n"


class Shop(Stack):
    """A project made from the template, with the example's files in it."""

    def __init__(self, example: Example, template: Path, folder: Path) -> None:
        super().__init__(folder)
        self._example = example
        self._migration = example.first
        self.environment = project_environment() | self.environment | {"PATH": project_environment()["PATH"]}
        (commands,) = re.findall(r"```sh\n(.*?)```", (EXAMPLES / example.name / "README.md").read_text(), re.DOTALL)
        settings = f"cat >>.env <<'END'\n{SETTINGS}{example.settings}END\nmake up"
        self._commands = commands.replace("../shop", str(folder)).replace("make up", settings)
        self._template = template

    def make(self) -> None:
        """Do what the README says."""
        done = subprocess.run(
            ["bash", "-euc", self._commands],
            cwd=self._template,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"

    def run_its_own_tests(self) -> None:
        """Run what the example brings for `make test`, on this stack."""
        spec = importlib.util.spec_from_file_location("its_tests", self.folder / "tests" / "test_shop.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        tests = [test for name, test in vars(module).items() if name.startswith("test_")]
        assert tests
        for test in tests:
            test(self)

    def add_version(self, version: str, change: str) -> None:
        """Add a migration, and have the application answer another version."""
        before, self._migration = self._migration, f"{version}_next"
        text = self._example.migration.format(name=self._migration, before=before, change=change)
        (self.folder / self._example.migrations / f"{self._migration}.py").write_text(text)
        file = self.folder / self._example.version
        file.write_text(re.sub(r"VERSION = .*", f'VERSION = "{version}"', file.read_text()))


class Customers:
    """Four clients that order each second, on a new connection each time. The worker ends ten jobs a second at most."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.placed = 0
        self.failed: list[str] = []

    def order(self) -> None:
        with httpx.Client(timeout=30, verify=False) as client:  # noqa: S501 - a development certificate
            client.get(self._shop.url("/shop/"))
            # What Django asks for; Flask asks for nothing.
            headers = {"Origin": self._shop.url(""), "X-CSRFToken": client.cookies.get("csrftoken", "")}
            headers["Connection"] = "close"
            url = self._shop.url("/orders")
            while not self._stop.wait(1):
                try:
                    answer = client.post(url, data={"product": "1"}, headers=headers)
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


@pytest.mark.parametrize("example", [FLASK, DJANGO], ids=str)
def test_a_shop_is_rolled_out_with_migrations_and_loses_neither_request_nor_job(
    example: Example, template: Path, tmp_path: Path
) -> None:
    subprocess.run([EXAMPLES / "stand-ins" / "build"], check=True, timeout=LONG)
    shop = Shop(example, template, tmp_path / "shop")
    try:
        shop.make()
        shop.run_its_own_tests()
        if example is FLASK:
            packages_are_where_they_belong(shop)
        before = shop.get("/orders").json()["placed"]

        customers = Customers(shop)
        with customers.ordering():
            for version, change in (("0002", EXPAND), ("0003", EXPAND_AGAIN), ("0004", CONTRACT)):
                worker, scheduler = shop.container("worker"), shop.container("scheduler")
                shop.add_version(version, change)
                shop.rollout()
                assert shop.get("/orders").json()["version"] == version
                assert shop.container("worker") != worker
                assert shop.container("scheduler") != scheduler

            shop.add_version("0005", "SELECT no_such_function()")
            with pytest.raises(AssertionError, match=r"release command failed.*the old version serves"):
                shop.rollout()
            assert shop.get("/orders").json()["version"] == "0004"
        assert customers.failed == []
        assert customers.placed > 0

        def all_shipped() -> bool:
            orders = shop.get("/orders").json()
            assert orders["placed"] == before + customers.placed
            return bool(orders["shipped"] == orders["placed"])

        wait_for(all_shipped, "no job is lost", 120)
        database = shop.logs("db")
        print(f"{example}: {customers.placed} orders, 0 failed; as many jobs done")
        assert [database.count(f"statement: {change}") for change in (EXPAND, EXPAND_AGAIN, CONTRACT)] == [1, 1, 1]
        wait_for(lambda: "tasks.count" in shop.logs("worker") or "jobs.count" in shop.logs("worker"), "beat's job")
        assert shop.health("worker") == shop.health("scheduler") == "healthy"
        assert inspect(shop.container("worker"))["RestartCount"] == 0

        secret = (shop.folder / "secrets/database_password").read_text().strip()
        assert secret not in shop.logs()
        assert docker("exec", shop.container("nginx"), "ls", "/run/secrets", check=False).returncode != 0
    finally:
        shop.down()


def packages_are_where_they_belong(shop: Shop) -> None:
    assert "GNU patch" in shop.get("/static/built.txt").text, "the build command's output is in the proxy's image too"
    assert shop.execute("app", "jq", "--version").returncode == 0
    assert shop.execute("app", "patch", "--version").returncode != 0, "what only the build needs is not in the image"
