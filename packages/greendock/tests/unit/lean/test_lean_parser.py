"""lean's parser is Gunicorn's: what one refuses the other refuses, what both accept reads the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gunicorn.http.message import Request
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from lean_corpus import ACCEPTED, CLOSED, CORPUS, INCOMPLETE, REFUSED
from lean_differential import STRANGER, TRUSTED, UNIX, assert_same, make_config, through_lean

from greendock.contrib.lean import request as request_module
from greendock.contrib.lean.request import PlainRequest

CONFIG = make_config()


def test_the_corpus_is_large_and_its_names_are_unique():
    assert len(CORPUS) == len(ACCEPTED) + len(CLOSED) + len(INCOMPLETE) + len(REFUSED) >= 250


@pytest.mark.parametrize("name", CORPUS)
def test_both_parsers_agree_whole_and_byte_by_byte(name):
    outcome = assert_same(CORPUS[name], CONFIG)
    if name in ACCEPTED:
        assert (outcome.end, bool(outcome.requests)) == ("end", True)
    elif name in CLOSED:
        assert (outcome.end, bool(outcome.requests)) == ("close", True)
    elif name in INCOMPLETE:
        assert outcome.end == "incomplete"
    else:
        assert outcome.end in ("400", "414", "417", "431", "501")


SETTINGS = {
    "header_map refuse": {"header_map": "refuse"},
    "header_map dangerous": {"header_map": "dangerous"},
    "any forwarder header": {"forwarder_headers": "*"},
    "no forwarder header": {"forwarder_headers": ""},
    "obsolete folding": {"permit_obsolete_folding": True},
    "stripped header spaces": {"strip_header_spaces": True},
    "unconventional methods": {"permit_unconventional_http_method": True},
    "unconventional versions": {"permit_unconventional_http_version": True},
    "methods case-folded": {"permit_unconventional_http_method": True, "casefold_http_method": True},
    "own scheme header": {"secure_scheme_headers": {"X-FORWARDED-PROTO": "https"}},
    "trust everyone": {"forwarded_allow_ips": "*"},
    "trust no one": {"forwarded_allow_ips": ""},
    "short lines": {"limit_request_line": 30},
    "unlimited lines": {"limit_request_line": 0},
    "few fields": {"limit_request_fields": 3},
    "all fields": {"limit_request_fields": 0},
    "short fields": {"limit_request_field_size": 40},
    "unlimited fields": {"limit_request_field_size": 0},
}


@pytest.mark.parametrize("peer", [TRUSTED, STRANGER, UNIX], ids=["trusted", "stranger", "unix"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_both_parsers_agree_under_every_setting_and_for_every_peer(settings, peer):
    cfg = make_config(**settings)
    server = "/run/app.sock" if peer == UNIX else ("127.0.0.1", 8000)
    for data in CORPUS.values():
        assert_same(data, cfg, peer, server, ways=("whole", "head, body"))


@pytest.mark.parametrize("limit", [0, 20, 4094])
def test_both_parsers_agree_on_either_side_of_a_limit(limit):
    for size in range(max(limit - 3, 1), limit + 4):
        line = b"GET /" + b"a" * max(size - 14, 0) + b" HTTP/1.1"
        assert_same(line + b"\r\nHost: a\r\n\r\n", make_config(limit_request_line=limit), ways=("whole", "threes"))
        field = b"X: " + b"a" * max(size - 5, 0)
        head = b"GET / HTTP/1.1\r\n" + field + b"\r\n\r\n"
        assert_same(head, make_config(limit_request_field_size=limit), ways=("whole", "threes"))


def test_the_script_name_of_the_environment_is_cut_off_the_path(monkeypatch):
    monkeypatch.setenv("SCRIPT_NAME", "/app")
    for target in ("/app", "/app/", "/app/a%20b?c", "/application", "/", "/ap"):
        assert_same(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), CONFIG)


def test_a_plain_request_does_not_need_gunicorns_parser():
    def plain(name):
        requests = []
        through_lean([CORPUS[name]], CONFIG, seen=requests.append)
        return [isinstance(req, PlainRequest) for req in requests]

    assert plain("plain") == plain("length") == plain("forwarded") == plain("http/1.0") == [True]
    assert plain("pipelined") == [True] * 3
    assert plain("chunked") == plain("repeated field") == plain("name underscore") == [False]


def test_a_head_sent_byte_by_byte_costs_linear_time(monkeypatch):
    calls = []
    monkeypatch.setattr(request_module, "Request", lambda *args: calls.append(args) or Request(*args))
    fields = b"".join(b"X-%d: %s\r\n" % (i, b"a" * 8000) for i in range(10))
    data = b"GET / HTTP/1.1\r\n" + fields + b"\r\n"
    outcome = through_lean([data[i : i + 1] for i in range(len(data))], CONFIG)
    assert outcome.end == "end"
    assert len(calls) == 1


#: Set LEAN_EXAMPLES for a longer search.
MAX_EXAMPLES = int(os.environ.get("LEAN_EXAMPLES", "1000"))

WORDS = """
    GET POST HEAD OPTIONS CONNECT get / /a?b * http://a/b HTTP/1.1 HTTP/1.0 HTTP/2.0 Host Content-Length
    Transfer-Encoding Connection Expect X_A X-A X-Forwarded-Proto X-Forwarded-Ssl SCRIPT_NAME Content-Type Trailer
    chunked identity gzip close keep-alive upgrade 100-continue https on 0 1 5 05 +5 -1 0x5 5,5 A;b=c hello
"""
TOKENS = st.sampled_from(WORDS.split())
MARKS = st.sampled_from(
    [" ", ": ", ":", "\r\n", "\r\n\r\n", "\n", "\r", "\t", "\0", "\x7f", "\xe9", ",", ";", "#", "_"]
)
END = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r\n ", ""])
FIELD = st.builds("{}{}{}{}".format, TOKENS, st.sampled_from([": ", ":", " : ", ":\t"]), st.one_of(TOKENS, MARKS), END)
HEADS = st.builds(
    lambda method, target, version, fields: f"{method} {target} {version}\r\n{''.join(fields)}\r\n",
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "GE", "get"]),
    st.sampled_from(["/", "/a?b", "//a", "*", "http://a/", "/%41", "/#", "a:1"]),
    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2"]),
    st.lists(FIELD, max_size=5),
)
BODIES = st.sampled_from(["", "hello", "5\r\nhello\r\n0\r\n\r\n", "0\r\nX: y\r\n\r\n", "5;a\r\nhello\r\n0\r\n\r\n"])
MESSAGES = st.one_of(
    st.lists(st.one_of(HEADS, BODIES), min_size=1, max_size=4).map("".join),
    st.lists(st.one_of(TOKENS, MARKS), max_size=30).map("".join),
).map(lambda text: text.encode("latin-1"))
CONFIGS = [make_config(**settings) for settings in ({}, *SETTINGS.values())]


@st.composite
def damaged(draw):
    """A request of the corpus with a few bytes changed, removed or doubled."""
    data = bytearray(draw(st.sampled_from([data for data in CORPUS.values() if len(data) < 1000])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(
            st.one_of(st.binary(max_size=2), st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b"\0", b":", b"_", b"0"]))
        )
    return bytes(data)


@example(b"GET" * 12 + b"\n", make_config(limit_request_line=30), TRUSTED)
@given(st.one_of(MESSAGES, damaged()), st.sampled_from(CONFIGS), st.sampled_from([TRUSTED, STRANGER]))
@hypothesis_settings(max_examples=MAX_EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_both_parsers_agree_on_whatever_hypothesis_finds(data, cfg, peer):
    assert_same(data, cfg, peer)


@pytest.mark.skipif("LEAN_FUZZ_SECONDS" not in os.environ, reason="opt-in: set LEAN_FUZZ_SECONDS")
def test_the_coverage_guided_fuzzer_finds_no_difference(tmp_path):
    pytest.importorskip("atheris")
    script = Path(__file__).with_name("fuzz_lean_parser.py")
    limit = f"-max_total_time={os.environ['LEAN_FUZZ_SECONDS']}"
    run = subprocess.run([sys.executable, script, limit], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
