"""No environment, however strange, gives a traceback, or a setting that Gunicorn would not take."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from gunicorn.config import Config
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from greendock.command import show
from greendock.env import dotenv
from greendock.env.problems import ConfigurationError, Problem
from greendock.env.value import Value
from greendock.server import settings, variables
from greendock.server.build import Built, build

NAMES = sorted(set(variables.ALL) | set(settings.known()))
# What would start another thing than a check, or import what a test must not import.
ODD = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "0",
            "-1",
            "1e9",
            "true",
            "off",
            "١",
            "9" * 400,
            "[" * 5000,
            "{}",
            "[]",
            "null",
            '["a',
            "[1]",
            "a,b",
            "*",
            "../..",
            "/",
            ":",
        ]
    ),
    st.integers().map(str),
    st.floats().map(str),
)
NAME = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(NAMES).map(lambda name: name + "_FILE"),
    st.text("ABCDEFGUNICORN_", min_size=1, max_size=12).map(lambda text: f"GUNICORN_{text}"),
    st.text("ABCDEFGREENDOCK_", min_size=1, max_size=12).map(lambda text: f"GREENDOCK_{text}"),
)


def _build(environment: dict[str, str]) -> tuple[Built | None, ConfigurationError]:
    try:
        return build(environment), ConfigurationError(())
    except ConfigurationError as error:
        return None, error


# A short run is the same every time; a long one (FUZZ_EXAMPLES, CI's long job) looks where nobody has looked.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
FUZZ = profile(max_examples=EXAMPLES or 400, derandomize=not EXAMPLES, deadline=None, print_blob=True)


@given(st.dictionaries(NAME, ODD.filter(lambda text: "\0" not in text), max_size=8))
@FUZZ
def test_any_environment_is_taken_or_refused_in_one_report(environment: dict[str, str]) -> None:
    built, refused = _build(environment)
    if built is None:
        assert str(refused).count("\n") == len(refused.problems) >= 1, "one line for each problem"
        return
    config = Config()
    for name, value in built.gunicorn().items():
        config.set(name, value)
    assert config.workers >= 1
    json.loads(show.settings(built, [], "json"))


@given(st.binary(max_size=60) | st.text("A=${}:-'\"\\# \n\tBx$1", max_size=40).map(str.encode))
@FUZZ
def test_any_dotenv_file_is_read_or_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, ".env")
        path.write_bytes(content)
        problems: list[Problem] = []
        values = dotenv.read(path, {}, problems)
    assert all(isinstance(value, Value) and value.text.strip() for value in values.values())
    for problem in problems:
        assert os.linesep not in str(problem)
