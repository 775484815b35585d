"""Generated files say what the code says."""

from __future__ import annotations

import json
import re

import pytest

from tests.support import ROOT, greendock, run_clean


@pytest.mark.parametrize(
    ("form", "file"),
    [("markdown", "docs/configuration.md"), ("dotenv", ".env.example"), ("proxy", "nginx/variables.env")],
)
def test_the_generated_file_is_what_the_command_prints(form: str, file: str) -> None:
    assert (ROOT / file).read_text() == greendock("env", "--format", form).stdout, "run `make reference`"


def test_the_example_as_it_stands_is_a_right_configuration(tmp_path: object) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given, "development overrides"
    assert greendock("check", **given).returncode == 0


def test_every_default_in_the_example_is_a_right_value() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    commented = [line.removeprefix("# ") for line in lines if re.fullmatch(r"# [A-Z_]+=.+", line)]
    given = {name: value.strip('"') for name, value in (line.split("=", 1) for line in commented)}
    done = greendock("check", PORT="8000", **given)  # as the image sets it
    assert done.returncode == 0, done.stderr


def test_the_reference_does_not_depend_on_who_asks() -> None:
    plain = greendock("env").stdout
    assert greendock("env", PORT="1234", WEB_CONCURRENCY="7", FORWARDED_ALLOW_IPS="*").stdout == plain


def test_config_says_where_each_value_came_from() -> None:
    done = greendock(
        "config",
        "--format",
        "json",
        "--",
        "--timeout",
        "50",
        GUNICORN_KEEPALIVE="90",
        GUNICORN_CMD_ARGS="--backlog 10 --timeout 40",
        GREENDOCK_DRAIN_SECONDS="1",
    )
    shown = json.loads(done.stdout)
    assert shown["keepalive"] == {"value": "90", "source": "process environment"}
    assert shown["backlog"] == {"value": "10", "source": "GUNICORN_CMD_ARGS"}
    assert shown["timeout"] == {"value": "50", "source": "command line"}
    assert shown["worker_class"]["source"] == "template default"
    assert shown["reuse_port"]["source"] == "Gunicorn's default"
    assert shown["GREENDOCK_DRAIN_SECONDS"] == {"value": "1.0", "source": "process environment"}


def test_a_refused_configuration_ends_every_command_with_status_2_and_no_traceback() -> None:
    for command in (["config"], ["check"], ["run", "gunicorn"]):
        done = greendock(*command, WEB_CONCURRENCY="auto", GUNICORN_TIMOUT="1")
        assert done.returncode == 2, command
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("greendock: 2 configuration problems"), done.stderr


def test_run_is_the_command_it_is_given() -> None:
    assert greendock("run", "gunicorn", "--version", WEB_CONCURRENCY="", PORT="").stdout.startswith("gunicorn (version")
    missing = greendock("run", "no-such-program")
    assert (missing.returncode, missing.stderr) == (127, "greendock: no-such-program: No such file or directory\n")


def test_secrets_are_hidden_in_config() -> None:
    done = greendock("config", GUNICORN_RAW_ENV="TOKEN=hunter2")
    assert "hunter2" not in done.stdout + done.stderr
    assert "(hidden)" in done.stdout


def test_the_version_of_gunicorn_is_the_one_the_notes_were_measured_on() -> None:
    done = run_clean(["gunicorn", "--version"], None, {})
    assert "27.0.1" in done.stdout
