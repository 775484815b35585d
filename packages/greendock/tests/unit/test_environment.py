"""Where values come from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from greendock.env import secrets, sources
from greendock.env.problems import Problem
from greendock.env.value import PROCESS, Value
from tests.support import PACKAGE

KNOWN = {"GREENDOCK_PLUGINS", "GREENDOCK_READINESS_FILE", "LOG_LEVEL"}


def load(process: dict[str, str], dotenv: Path | None = None) -> tuple[dict[str, Value], list[Problem]]:
    problems: list[Problem] = []
    return sources.load(process, dotenv, KNOWN, problems), problems


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_the_process_environment_goes_before_dotenv(dotenv: Path) -> None:
    dotenv.write_text("LOG_LEVEL=debug\nOTHER=file\n")
    values, _ = load({"LOG_LEVEL": "error"}, dotenv)
    assert values["LOG_LEVEL"] == Value("error", PROCESS)
    assert values["OTHER"] == Value("file", ".env line 2")


@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_empty_means_unset_so_the_source_beneath_counts(dotenv: Path, empty: str) -> None:
    dotenv.write_text("LOG_LEVEL=debug\n")
    values, _ = load({"LOG_LEVEL": empty}, dotenv)
    assert values["LOG_LEVEL"].text == "debug"
    assert "LOG_LEVEL" not in load({"LOG_LEVEL": empty})[0]


def test_a_file_supplies_the_variable_and_its_text_is_secret(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("warning\n")
    values, problems = load({"LOG_LEVEL_FILE": str(secret)})
    assert values["LOG_LEVEL"] == Value("warning", f"file {secret} (LOG_LEVEL_FILE)", secret=True)
    assert not problems


def test_a_variable_and_its_file_together_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("debug")
    _, problems = load({"LOG_LEVEL": "info", "LOG_LEVEL_FILE": str(tmp_path / "secret")})
    assert [problem.accepted for problem in problems] == ["set LOG_LEVEL or LOG_LEVEL_FILE, not both"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * (1024 * 1024 + 2)])
def test_a_secret_file_that_cannot_be_used_is_one_problem(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    _, problems = load({"LOG_LEVEL_FILE": str(tmp_path / "secret")})
    assert len(problems) == 1
    assert problems[0].accepted.startswith("accepted: a")


def test_a_known_name_that_ends_in_file_is_no_secret() -> None:
    values, problems = load({"GREENDOCK_READINESS_FILE": "/run/x/ready"})
    assert values["GREENDOCK_READINESS_FILE"].text == "/run/x/ready"
    assert not problems


def test_other_programs_file_variables_are_left_alone_outside_run_secrets() -> None:
    values, problems = load({"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"})
    assert values == {"SSL_CERT_FILE": Value("/etc/ssl/certs/ca-certificates.crt", PROCESS)}
    assert not problems


def test_the_applications_own_secrets_are_read_from_run_secrets() -> None:
    _, problems = load({"DATABASE_URL_FILE": "/run/secrets/there-is-none"})
    assert [problem.variable for problem in problems] == ["DATABASE_URL_FILE"]


def test_exported_names_reach_the_application_and_leave_with_their_line() -> None:
    environ = {"HOME": "/root"}
    values = {"A": Value("1", ".env line 1"), "GUNICORN_X": Value("2", ".env line 2"), "HOME": Value("/root", PROCESS)}
    sources.export(values, ("GUNICORN_",), environ)
    assert environ == {"HOME": "/root", "A": "1"}
    sources.export({}, ("GUNICORN_",), environ)
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("export A=plain", "plain"),
        ("A = spaced # comment", "spaced"),
        ("A=with#hash", "with#hash"),
        ('A="two words # kept"', "two words # kept"),
        ("A='s3$cret'", "s3$cret"),
        ("A='${HERE}'", "${HERE}"),
        ('A="line\\nbreak"', "line\nbreak"),
        ("A=x=y", "x=y"),
        ("B=1\nA=${B}2", "12"),
        ("A=${NONE:-fallback}", "fallback"),
        ("A=${HERE}", "process"),
        ("A=1\nA=2", "2"),
        ("A=ünï", "ünï"),
    ],
)
def test_a_line_is_read_as_compose_reads_it(dotenv: Path, line: str, value: str) -> None:
    dotenv.write_text(line + "\n")
    values, problems = load({"HERE": "process"}, dotenv)
    assert not problems
    assert values["A"].text == value


@pytest.mark.parametrize(
    "line",
    [
        "A",
        "A: yaml",
        "A=$HOME",
        "A='back\\slash'",
        "A=${HOME:?error}",
        "A=${HOME-x}",
        "A=cost$",
        'A="un\nclosed',
        "A=a'b",
        'A="\\$x"',
        "1A=x",
        "A.B=x",
        'A="x"y',
        "A=back\\slash",
    ],
)
def test_a_line_that_compose_would_read_otherwise_is_refused_with_its_line_number(dotenv: Path, line: str) -> None:
    dotenv.write_text(f"OK=1\n{line}\n")
    _, problems = load({}, dotenv)
    assert problems
    assert problems[0].source == ".env line 2"


def test_a_dotenv_file_that_is_not_text_is_one_problem(dotenv: Path) -> None:
    dotenv.write_bytes(b"A=\xff\n")
    _, problems = load({}, dotenv)
    assert len(problems) == 1


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of /run/secrets."""
    monkeypatch.setattr(secrets, "FOLDER", f"{tmp_path}/")
    (tmp_path / "url").write_text("postgres://x\n")
    return tmp_path


def test_a_process_that_is_no_server_sees_the_secrets_the_server_sees(folder: Path) -> None:
    environ = {"DATABASE_URL_FILE": f"{folder}/url", "SSL_CERT_FILE": "/etc/ssl/cert.pem", "HOME": "/"}
    assert secrets.export(environ) == []
    assert environ["DATABASE_URL"] == "postgres://x"
    assert "SSL_CERT" not in environ


def test_a_secret_that_another_process_has_read_before_is_no_contradiction(folder: Path) -> None:
    environ = {"DATABASE_URL_FILE": f"{folder}/url"}
    secrets.export(environ)
    values, problems = load(environ)
    assert problems == []
    assert values["DATABASE_URL"] == Value("postgres://x", f"file {folder}/url (DATABASE_URL_FILE)", secret=True)


def test_greendocks_own_secrets_stay_out_of_the_environment(folder: Path) -> None:
    environ = {"GUNICORN_STATSD_HOST_FILE": f"{folder}/url"}
    secrets.export(environ)
    assert "GUNICORN_STATSD_HOST" not in environ


def test_a_secret_that_cannot_be_read_is_named_and_set_to_nothing(folder: Path) -> None:
    environ = {"DATABASE_URL_FILE": f"{folder}/missing"}
    (complaint,) = secrets.export(environ)
    assert f"DATABASE_URL_FILE={folder}/missing" in complaint
    assert "No such file" in complaint
    assert "DATABASE_URL" not in environ


def test_reading_secrets_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys, greendock.env.secrets; print(*(sys.modules.keys() & {'dataclasses', 'pathlib', 're', 'gunicorn'}))"
    )
    command = [sys.executable, "-S", "-c", code]
    environment = {"PYTHONPATH": str(PACKAGE / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "\n", done.stderr
