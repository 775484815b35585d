"""The template's number: the files that carry it agree with the package, and a start says so where they do not."""

from __future__ import annotations

import re

import pytest

from greendock.env import contract
from greendock.env.problems import ConfigurationError
from greendock.proxy import configuration
from greendock.server.build import build
from tests.support import ROOT


def test_this_repositorys_files_carry_the_packages_number() -> None:
    images = re.findall(r"\bGREENDOCK_TEMPLATE=(\d+)", (ROOT / "Dockerfile").read_text())
    services = re.findall(r"\bGREENDOCK_COMPOSE_TEMPLATE=(\d+)", (ROOT / "docker-compose.yml").read_text())
    assert {int(number) for number in images + services} == {contract.NUMBER}
    assert len(images) == 2  # both images


@pytest.mark.parametrize("name", contract.FILES)
def test_both_tiers_refuse_the_files_of_another_template(name: str) -> None:
    other = {name: str(contract.NUMBER + 1)}
    said = f"template {contract.NUMBER + 1}, greendock {contract.NUMBER}: run `make upgrade`"
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        build(other)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        configuration.read(other)


@pytest.mark.parametrize("number", ["", str(contract.NUMBER)])
def test_the_same_number_or_none_is_right(number: str) -> None:
    assert contract.problems(dict.fromkeys(contract.FILES, number)) == []
