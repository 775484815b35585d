"""The README's two commands on a machine that has nothing: ``make up``, then ``make test``.

``make test-fresh`` runs all tests there (``FRESH_TESTS=all``); each run of the container tests does with one test of
each kind, so that each session of pytest and each program that has to be installed is held.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.machine import Machine
from tests.container.support import readme_commands

ALL = os.environ.get("FRESH_TESTS") == "all"
# A minute and three on two idle cores; what bounds a busy machine is the run as a whole.
_MINUTES = 60 if ALL else 20
_ONE_OF_EACH = (
    "test_every_make_target_that_is_named_exists",
    "test_peers_without_caddy_are_measured_on_a_machine_without_caddy",
    "test_a_person_sees_who_answered_and_nothing_is_missing",  # chromium
    "test_slow_headers_are_cut_off_in_the_time_allowed",  # slowhttptest
    "test_a_request_over_http_2_reaches_the_application",  # nghttp
    "test_a_worker_never_has_more_connections_than_threads",  # redis-server
    "test_one_command_ends_with_two_healthy_containers_and_an_answered_request",  # curl
    "test_the_front_page_is_served",
)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(f"greendock-fresh-{uuid.uuid4().hex[:8]}", os.environ.get("FRESH_SUITE") or "trixie")
    try:
        machine.start(tmp_path)
        yield machine
    finally:
        machine.remove()


def test_the_two_commands_of_the_readme_do_everything_on_a_machine_that_has_nothing(machine: Machine) -> None:
    start, test = (line.split("#")[0].strip() for line in readme_commands()[0].splitlines())
    up = machine.run(f"time {start}", _MINUTES * 60)
    assert up.index("going to install Docker") < up.index("answers")
    assert "ready at http://localhost:8080/" in up
    ask = "import urllib.request as u; print(u.urlopen('http://localhost:8080/').status)"
    assert machine.run(f'python3 -c "{ask}"') == "200\n"

    # This test is the one that cannot be run there again.
    chosen = "--deselect tests/container/test_fresh.py" if ALL else f"-k '{' or '.join(_ONE_OF_EACH)}'"
    tests = machine.run(f"time {test}", _MINUTES * 60, PYTEST_ADDOPTS=chosen)
    print(up, tests)
    assert tests.index("going to install") < tests.index("test session starts")
    closing = re.findall(r"^=+ (.* in [\d.]+s.*) =+$", tests, re.MULTILINE)
    assert len(closing) == tests.count("test session starts") > 0
    for line in closing:
        assert "passed" in line, tests
        assert "skipped" not in line, tests
