"""The programs of other projects that a benchmark asks for, and no more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import processes
from bench.peers import every
from bench.peers.model import Peer


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of wrk and what a shell script needs, for somebody who is not root."""
    for name in ("bash", "dirname"):
        program = shutil.which(name)
        assert program
        (tmp_path / name).symlink_to(program)
    for name in ("id", "wrk"):
        (tmp_path / name).write_text("#!/bin/sh\necho 1000\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def named(*names: str) -> list[Peer]:
    return [peer for peer in every() if peer.name in names]


@pytest.mark.usefixtures("bare")
def test_peers_without_caddy_are_measured_on_a_machine_without_caddy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "local_nginx", lambda: "/usr/sbin/nginx")
    found = named("greendock", "tutorial")
    assert len(found) == 2
    processes.setup(found)


@pytest.mark.usefixtures("bare")
def test_a_peer_whose_program_is_missing_names_the_command_that_installs_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match=r"needs caddy; as root on Debian: scripts/test-deps caddy$"):
        processes.setup(named("caddy"))
    assert "only root on Debian can install here: caddy" in capfd.readouterr().err


def test_a_missing_load_generator_is_named_too(bare: Path) -> None:
    (bare / "wrk").unlink()
    with pytest.raises(SystemExit, match=r"scripts/test-deps caddy wrk$"):
        processes.setup(named("caddy"))
