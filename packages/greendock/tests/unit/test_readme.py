"""What the README says exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")])


MAKEFILES = (ROOT / "Makefile", ROOT / "packages/maintainers/maintainers.mk")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_local_link_leads_somewhere(page: object) -> None:
    text = page.read_text()  # type: ignore[attr-defined]
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target  # type: ignore[attr-defined]


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", "".join(map(Path.read_text, MAKEFILES)), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert target in targets, (page.name, target)


def test_every_variable_that_is_named_exists() -> None:
    known = set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs/configuration.md").read_text()))
    for page in PAGES:
        if page.is_relative_to(ROOT / "examples"):
            continue  # plugins bring variables of their own
        if page.name == "coming-from.md":
            continue  # other projects' names; tests/unit/test_settings.py holds the table to ours
        for name in re.findall(r"`((?:GUNICORN|GREENDOCK|NGINX)_[A-Z_]+[A-Z])[=`]", page.read_text()):
            assert name in known | {"GUNICORN_CMD_ARGS", "GREENDOCK_REQUIRE_ENGINE"}, (page.name, name)
