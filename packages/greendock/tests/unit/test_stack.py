"""The stack for a project's own tests: where its engine is."""

import pytest

from greendock.testing.stack import engine_address


@pytest.mark.parametrize(
    ("engine", "address"),
    [("", "127.0.0.1"), ("unix:///var/run/docker.sock", "127.0.0.1"), ("tcp://docker:2376", "docker")],
)
def test_published_ports_are_asked_where_the_engine_is(
    monkeypatch: pytest.MonkeyPatch, engine: str, address: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine)
    assert engine_address() == address
