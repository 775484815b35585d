"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from tests.support import HELLO, Server, serving

# Hypothesis fails an example that takes longer than 200 ms by default. No test here judges the time on the clock.
hypothesis.settings.register_profile("greendock", deadline=None)
hypothesis.settings.load_profile("greendock")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test: ``serve(source, **environment)``."""
    with ExitStack() as stack:
        count = 0

        def start(source: str = HELLO, *, wait: bool = True, **environment: str) -> Server:
            nonlocal count
            count += 1
            folder = tmp_path / f"server{count}"
            return stack.enter_context(serving(folder, source, wait=wait, **environment))

        yield start
