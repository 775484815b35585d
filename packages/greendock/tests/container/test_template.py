"""A project made from the template: its own tests, in containers."""

from __future__ import annotations

from pathlib import Path

from tests.process.test_template import done, make
from tests.process.test_template import template as template


def test_a_new_project_passes_its_own_tests(template: Path, tmp_path: Path) -> None:
    """Django stands for the others: it has the most files, a build command and settings of its own."""
    project = make(template, tmp_path / "site", framework="django", tls="yes")
    assert "passed" in done(project, "make", "test")
