"""The package by itself: its wheel in an empty virtual environment, away from this repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from greendock import __version__
from tests.support import PACKAGE, ROOT, clean_environment


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = clean_environment()
    environment.pop("VIRTUAL_ENV", None)

    def uv(*arguments: str | Path) -> None:
        command = [ROOT / "scripts" / "uv", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr

    uv("build", "--wheel", "--out-dir", folder, PACKAGE)
    uv("venv", folder / "venv")
    uv("pip", "install", "--python", folder / "venv", *folder.glob("*.whl"))
    return folder / "venv" / "bin"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("greendock", "--version"), f"greendock {__version__}"),
        (("greendock", "check"), "the configuration is right"),
        (("greendock", "config"), "wsgi_app"),
        (("greendock", "proxy", "config"), "server_name"),
        (("python", "-m", "greendock", "check"), "the configuration is right"),
        (("python", "-m", "greendock.proxy", "config"), "server_name"),
    ],
)
def test_a_wheel_in_an_empty_environment_has_every_command(
    installed: Path, tmp_path: Path, command: tuple[str, ...], says: str
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("def app(environ, start_response): ...\n")
    environment = {"PATH": f"{installed}{os.pathsep}{os.defpath}", "HOME": str(tmp_path), "NGINX_RESOLVER": "127.0.0.1"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert says in result.stdout
