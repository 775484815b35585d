"""The pytest plugin: the fixture ``stack``, this project's containers for your tests to ask.

It builds and starts them once for all tests, under a name and ports of their own, and removes them at the end, whatever
happened. When a test that used it fails, the containers' logs are shown with it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

# pytest loads this module wherever Greendock is installed; what the extra `testing` brings is needed by `stack` only.
if TYPE_CHECKING:
    from greendock.testing.stack import Stack

_LINES = 60


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Generator[Stack, None, None]:
    """The project's stack, healthy."""
    from greendock.testing.stack import Stack, engine_problem  # noqa: PLC0415

    problem = engine_problem()
    if problem:
        pytest.fail(f"these tests start containers, and there is no engine: {problem}", pytrace=False)
    stack = Stack(request.config.rootpath)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the containers' logs below a test of the stack that failed."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if call.when == "call" and report.failed and stack is not None:
        lines = stack.logs().splitlines()[-_LINES:]
        report.sections.append(("containers' logs, the last lines", "\n".join(lines)))
    return report
