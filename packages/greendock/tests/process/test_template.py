"""A project made from the template by Copier, and upgraded: in a copy of this repository with tags of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from greendock import __version__
from tests.support import ROOT, clean_environment

# Greendock's own affairs, which no project has.
FORBIDDEN = re.compile(r"benchmark|\bbench\b|fuzz|atheris|stand-in|mmdebstrap|base-images|\.ci/run", re.IGNORECASE)
MOST_FILES = 45
NEXT = "99.0.0"


def project_environment() -> dict[str, str]:
    """Return the environment of somebody who has uv and whom git knows."""
    uv = Path(os.environ.get("UV") or ROOT / ".cache" / "uv" / "bin" / "uv")
    identity = {f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = clean_environment(GIT_CONFIG_GLOBAL=os.devnull, **identity)
    for name in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "MAKEFLAGS", "MAKELEVEL"):
        environment.pop(name, None)
    return environment | {"PATH": f"{uv.parent}{os.pathsep}{environment['PATH']}"}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, in ``folder``."""
    return subprocess.run(
        command,
        cwd=folder,
        env=project_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def done(folder: Path, *command: str) -> str:
    """Run a command that must succeed; return its output."""
    result = run(folder, *command)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
    return result.stdout


def commit(folder: Path, message: str, tag: str = "") -> None:
    """Commit everything in ``folder``."""
    done(folder, "git", "add", "--all")
    done(folder, "git", "commit", "--quiet", "--message", message)
    if tag:
        done(folder, "git", "tag", tag)


def replace(file: Path, old: str, new: str) -> None:
    """Change a file as an editor would."""
    text = file.read_text()
    assert text.count(old) == 1, f"{file}: {text.count(old)} times {old!r}"
    file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as it is now, committed and tagged with its version."""
    folder = tmp_path_factory.mktemp("template")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        source, copy = ROOT / name, folder / name
        if source.is_symlink() or source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    done(folder, "git", "init", "--quiet")
    commit(folder, "The template", f"v{__version__}")
    return folder


def make(template: Path, folder: Path, **answers: str) -> Path:
    """Make a project of these answers in ``folder``, committed."""
    data = " ".join(f"--data {name}={value}" for name, value in answers.items())
    done(template, "make", "new", f"DIR={folder}", f"ARGS=--defaults {data}")
    done(folder, "git", "init", "--quiet")
    commit(folder, "Made")
    return folder


def tracked(project: Path) -> list[str]:
    return done(project, "git", "ls-files").splitlines()


@pytest.mark.parametrize("framework", ["flask", "django", "fastapi", "empty"])
def test_a_project_has_few_files_and_none_of_greendocks_own_affairs_and_its_lint_passes(
    template: Path, tmp_path: Path, framework: str
) -> None:
    project = make(template, tmp_path / "site", framework=framework)
    files = [*tracked(project), ".env"]
    own = [name for name in files if not name.startswith("packages/greendock/")]
    assert len(own) <= MOST_FILES, own
    foreign = ("packages/greendock/tests", "packages/maintainers", "docs/", "bench/", "examples/")
    assert not [name for name in files if name.startswith(foreign)]
    words = {name: FORBIDDEN.findall((project / name).read_text()) for name in files}
    assert {name: found for name, found in words.items() if found} == {}
    assert not any((project / name).is_symlink() for name in files)
    assert os.access(project / "scripts" / "uv", os.X_OK)
    done(project, "make", "lint")


def test_the_answers_shape_the_project(template: Path, tmp_path: Path) -> None:
    project = make(template, tmp_path / "site", name="shop", tls="yes", ci="gitlab", framework="fastapi")
    assert (project / ".gitlab-ci.yml").exists()
    assert not (project / ".github").exists()
    assert "NGINX_TLS=self-signed" in (project / ".env").read_text()
    assert ":-shop-app}" in (project / "docker-compose.yml").read_text()
    assert "GUNICORN_WORKER_CLASS=asgi" in (project / "Dockerfile").read_text()
    assert "fastapi" in (project / "pyproject.toml").read_text()
    assert (project / "README.md").read_text().startswith("# shop\n")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("framework=rails", "Invalid choice for 'framework': 'rails' is not in"),
        ("framwork=django", "framwork is no question; the questions are name, framework, tls, ci"),
        ("name=Bad_Name", "A name has 1 to 40 of a-z, 0-9 and -"),
        ("tls=perhaps", "tls is yes or no"),
    ],
)
def test_an_unknown_answer_is_one_sentence_and_makes_nothing(
    template: Path, tmp_path: Path, answer: str, sentence: str
) -> None:
    folder = tmp_path / "site"
    result = run(template, "scripts/copier", "new", str(folder), "--defaults", "--data", answer)
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1
    assert sentence in result.stderr
    assert not folder.exists()


def test_a_folder_that_is_not_empty_is_left_alone(template: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("mine\n")
    result = run(template, "scripts/copier", "new", str(tmp_path), "--defaults")
    assert result.returncode != 0
    assert "is not an empty folder; nothing was changed" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["Dockerfile"]


@pytest.fixture(scope="module")
def project_and_next(template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A project made from this version, and the template with the next one beside it."""
    folder = tmp_path_factory.mktemp("upgrade")
    newer = folder / "template"
    done(folder, "git", "clone", "--quiet", str(template), str(newer))
    project = make(newer, folder / "site")
    replace(newer / "Dockerfile", "EXPOSE 8000\n", f"EXPOSE 8000\n# New in {NEXT}.\n")
    replace(newer / "docker-compose.yml", "pids_limit: 512\n", "pids_limit: 1024\n")
    replace(newer / ".env.example", "# WORKERS_PER_CORE=\n", "# WORKERS_PER_CORE=3\n")
    replace(newer / "app" / "main.py", '"service": "greendock sample"', '"service": "a sample"')
    replace(newer / "packages/greendock/src/greendock/__init__.py", f'"{__version__}"', f'"{NEXT}"')
    commit(newer, "Changes", f"v{NEXT}")
    return project, newer


@pytest.fixture
def project(project_and_next: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the project."""
    copy = tmp_path / "site"
    shutil.copytree(project_and_next[0], copy, symlinks=True)
    return copy


def test_an_upgrade_keeps_what_the_user_changed_and_brings_what_is_new(project: Path) -> None:
    service = "  db:\n    image: postgres:18\n"
    replace(project / "docker-compose.yml", "\nvolumes:\n", f"{service}\nvolumes:\n")
    package = "RUN apt-get update && apt-get install --yes libpq5\nUSER 10001:10001\n"
    replace(project / "Dockerfile", "USER 10001:10001\n", package)
    drop_in = project / "nginx" / "location.d" / "mine.conf"
    drop_in.write_text("add_header X-Mine yes;\n")
    (project / ".env").write_text("LOG_LEVEL=warning\n")
    replace(project / "app" / "main.py", '"ok\\n", 200', '"fine\\n", 200')
    ci = project / ".github" / "workflows" / "ci.yml"
    replace(ci, "      - run: make lint\n", "      - run: make lint\n      - run: echo mine\n")
    commit(project, "Mine")

    result = run(project, "make", "upgrade")

    assert result.returncode == 0, result.stderr
    assert "postgres:18" in (project / "docker-compose.yml").read_text()
    assert "pids_limit: 1024" in (project / "docker-compose.yml").read_text()
    assert "libpq5" in (project / "Dockerfile").read_text()
    assert f"New in {NEXT}" in (project / "Dockerfile").read_text()
    assert drop_in.read_text() == "add_header X-Mine yes;\n"
    assert (project / ".env").read_text() == "LOG_LEVEL=warning\n"
    assert "WORKERS_PER_CORE=3" in (project / ".env.example").read_text()
    assert '"fine\\n", 200' in (project / "app" / "main.py").read_text()
    assert '"service": "a sample"' in (project / "app" / "main.py").read_text()
    assert "echo mine" in ci.read_text()
    assert f"_commit: v{NEXT}" in (project / ".copier-answers.yml").read_text()
    assert f'"{NEXT}"' in (project / "packages/greendock/src/greendock/__init__.py").read_text()
    done(project, "scripts/uv", "lock", "--check")


def test_what_both_changed_is_marked_and_nothing_is_lost(project: Path) -> None:
    replace(project / "docker-compose.yml", "pids_limit: 512", "pids_limit: 256 # mine")
    replace(project / "app" / "hooks.py", "has booted and takes requests", "is up")
    commit(project, "Mine")
    result = run(project, "make", "upgrade")
    assert result.returncode != 0
    assert "both you and the template changed docker-compose.yml" in result.stderr
    text = (project / "docker-compose.yml").read_text()
    assert re.search(
        r"<<<<<<< before updating\n.*pids_limit: 256 # mine\n=======\n.*pids_limit: 1024\n>>>>>>> after updating", text
    )
    assert "is up" in (project / "app" / "hooks.py").read_text()
    assert done(project, "git", "show", "HEAD:docker-compose.yml").count("pids_limit: 256 # mine") == 1


def test_an_upgrade_that_cannot_be_made_is_one_sentence_and_changes_nothing(project: Path, template: Path) -> None:
    def refused(folder: Path, *arguments: str) -> str:
        before = done(folder, "git", "status", "--porcelain")
        result = run(folder, "make", "upgrade", *arguments)
        assert result.returncode != 0
        assert done(folder, "git", "status", "--porcelain") == before
        sentence, _make = result.stderr.splitlines()
        return sentence

    (project / "app" / "new.py").touch()
    assert "not committed; commit or stash first" in refused(project)
    (project / "app" / "new.py").unlink()
    assert "unknown-tag" in refused(project, "ARGS=--vcs-ref unknown-tag")
    done(project, "make", "upgrade")
    commit(project, "Upgraded")
    assert "Downgrades are not supported" in refused(project, f"ARGS=--vcs-ref v{__version__}")
    assert "no project was made here by Copier" in refused(template)
