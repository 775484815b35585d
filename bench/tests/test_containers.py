"""Peers in containers, as far as no container is needed: what starts them, and which processes are theirs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench import containers, inside
from bench.peers.model import OURS, PROXIED, Peer, Program

ID = "4f" * 32


def test_programs_get_their_own_variables_and_nothing_else_and_the_first_to_end_ends_all() -> None:
    said = Program(("sh", "-c", 'echo "$0 $VALUE $HOME"; exec sleep 0.01'), {"VALUE": "it's $HOME"})
    stays = Program(("sleep", "60"))
    done = subprocess.run(
        [
            "bash",
            "-c",
            inside.script([stays, said], {"PATH": "/usr/bin:/bin", "HOME": "/h", "VALUE": "common"}) + "\nkill %1",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout == "sh it's $HOME /h\n"


@pytest.mark.parametrize(
    "groups",
    [
        f"12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n",
        f"0::/system.slice/docker-{ID}.scope\n",
    ],
)
def test_a_process_belongs_to_a_peer_by_its_control_group(
    groups: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid, text in {"10": groups, "11": groups.replace("4f", "5a"), "12": "0::/user.slice\n"}.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(text)
    (tmp_path / "13").mkdir()  # has ended
    monkeypatch.setattr(containers, "PROC", tmp_path)
    assert [pid for pid in range(10, 14) if containers.belongs(pid, [ID])] == [10]


def test_this_stack_is_a_compose_project_and_another_peer_one_container(tmp_path: Path) -> None:
    ours = containers.make(Peer("ours", "", OURS, "", "", lambda _: []), None, tmp_path, tmp_path)
    other = containers.make(Peer("other", "", PROXIED, "", "", lambda _: []), None, tmp_path, tmp_path)
    direct = containers.make(Peer("direct", "", OURS, "", "", lambda _: [], place_of="ours"), ours, tmp_path, tmp_path)
    assert (len(ours.names), len(other.names)) == (2, 1)
    assert (direct.names, direct.port) == (ours.names[::-1], 8000)


def test_what_is_set_where_the_benchmark_is_called_does_not_configure_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WEB_CONCURRENCY", "GUNICORN_THREADS", "NGINX_GZIP_LEVEL", "GREENDOCK_TAG", "COMPOSE_FILE"):
        monkeypatch.setenv(name, "9")
    peer = Peer("ours", "", OURS, "", "", lambda _: [], environment={"GUNICORN_WORKER_CLASS": "lean"})
    stack = containers.Stack(peer, "project", tmp_path, tmp_path)
    assert "9" not in stack.environment.values()
    assert stack.environment["GUNICORN_WORKER_CLASS"] == "lean"
