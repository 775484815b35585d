"""The same settings and the same requests: lean answers and logs what gthread does.

``tests/unit/lean/test_lean_parser.py`` holds the two parsers to each other; here are the settings as a whole server
sees them. The differences that are meant are in docs/lean.md, and tested where lean alone is.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest
from lean_server import until
from lean_twins import ATOMS, Twins, exchange, get, mask

HERE = Path(__file__).parent
TALK = ("on standard output", "on standard error", "on wsgi.errors", "in the log")

FIELDS = ("User-Agent: tester", "Referer: http://r/", "X-Request-Id: abc", "Authorization: Basic YW5uOnB3")
REQUESTS = {
    "get": get("/a/b%20c?x=1&y", *FIELDS),
    "head": get("/a", method="HEAD"),
    "http 1.0": get("/a", version="HTTP/1.0"),
    "post": get("/form", "Content-Length: 3", "Content-Type: text/plain", method="POST", body=b"abc"),
    "chunks": get("/form", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"),
    "two on one connection": get("/1") + get("/2"),
    "an expectation": get("/form", "Expect: 100-continue", "Content-Length: 3", method="POST", body=b"abc"),
    "another expectation": get("/form", "Expect: gold", "Content-Length: 3", method="POST", body=b"abc"),
    "a stream": get("/stream"),
    "204": get("/empty"),
    "304": get("/same"),
    "a file": get("/file"),
    "head of a file": get("/file", method="HEAD"),
    "cookies": get("/cookies"),
    "an error": get("/boom"),
    "underscores": get("/", "X_Under: 1", "X-Other: 2"),
    "underscores beside dashes": get("/", "X_Under: 1", "X-Under: 2"),
    "script name": get("/pre/fix", "SCRIPT_NAME: /pre"),
    "forwarded proto": get("/", "X-Forwarded-Proto: https", "X-Forwarded-For: 1.2.3.4"),
    "own scheme": get("/", "X-Own-Scheme: secure"),
    "schemes that differ": get("/", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"),
    "folded": get("/", "X-Folded: a", " b"),
    "space before the colon": get("/", "X-Spaced : a"),
    "lower-case method": get("/", method="get"),
    "strange method": get("/", method="G#T"),
    "strange version": get("/", version="HTTP/3.0"),
    "long line": get("/" + "l" * 300),
    "longer line": get("/" + "l" * 5000),
    "many fields": get("/", *(f"X-{number}: 1" for number in range(50))),
    "long field": get("/", "X-Long: " + "l" * 500),
    "longer field": get("/", "X-Long: " + "l" * 9000),
    "garbage": b"garbage\r\n\r\n",
    "framed twice": get(
        "/", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\n\r\n"
    ),
}
CONFS = {
    "defaults": "",
    "lenient": """
permit_obsolete_folding = strip_header_spaces = permit_unconventional_http_method = True
permit_unconventional_http_version = casefold_http_method = True
header_map = "dangerous"
forwarder_headers = "*"
""",
    "strict": """
header_map = "refuse"
forwarder_headers = ""
limit_request_line = 250
limit_request_fields = 30
limit_request_field_size = 400
""",
    "unlimited": "limit_request_line = 0\nlimit_request_field_size = 0\n",
    "its own scheme header": 'secure_scheme_headers = {"X-OWN-SCHEME": "secure"}',
    "no trusted proxy": 'forwarded_allow_ips = "192.0.2.1"',
    "python's parser": 'http_parser = "python"',
    "nothing kept, nothing sent by the kernel": "keepalive = 0\nsendfile = True",
    "a prefix": 'raw_env = ["SCRIPT_NAME=/a"]\nroot_path = "/b"',
}


@pytest.mark.parametrize("conf", CONFS)
def test_every_request_is_answered_and_logged_alike(start, conf):
    twins = Twins(
        start,
        *("--access-logformat", ATOMS),
        app="lean_echo:app",
        conf=f"import pathlib\naccesslog = str(pathlib.Path(__file__).with_name('access'))\n{CONFS[conf]}",
    )
    answers = {name: twins.ask(data) for name, data in REQUESTS.items()}
    for name, (expected, got) in answers.items():
        assert got == expected, name
    expected, got = (sized(lines) for lines in twins.logged("access"))
    assert got == expected


def sized(lines):
    """gthread logs no bytes for a file that the kernel sent; lean logs them."""
    return [re.sub(r"^(.*GET /file .*\|200)\|\d+\|\d+\|", r"\1|sent|sent|", line) for line in lines]


def test_a_request_that_is_refused_is_complained_about_alike(start):
    twins = Twins(start, app="lean_echo:app", conf='import pathlib\nerrorlog = "-"\n')
    names = ("schemes that differ", "folded", "strange version", "longer line", "longer field", "garbage", "an error")
    complaints = []
    for server in twins.servers:
        for name in names:
            exchange(server, REQUESTS[name])
        exchange(server, get("/late"))
        until(lambda server=server: "ValueError: late" in server.log)
        complaints.append([mask(line, server) for line in server.log.splitlines() if re.search("Invalid|Error", line)])
    assert complaints[0] == complaints[1]
    assert sum("Invalid request from ip=127.0.0.1: " in line for line in complaints[0]) == len(names) - 1


def process(twins):
    """What ``/process`` says, which must be the same from both."""
    expected, got = twins.ask(get("/process"))
    assert got == expected
    return json.loads(got[0][3])


def test_the_process_is_what_the_settings_make_it(start, tmp_path):
    conf = f"""
import pathlib
pidfile = str(pathlib.Path(__file__).with_name("pid"))
chdir = {str(tmp_path)!r}
pythonpath = {str(HERE)!r}
raw_env = ["FROM_RAW_ENV=yes"]
preload_app = True
"""
    twins = Twins(start, app="lean_echo:app", conf=conf)
    seen = process(twins)
    assert (seen["cwd"], seen["variable"], seen["preloaded"]) == (str(tmp_path), "yes", True)
    assert seen["heartbeat"] == ["FOLDER"]  # lean_server sets worker_tmp_dir
    for server in twins.servers:
        assert server.log_path.with_name("pid").read_text().strip() == str(server.process.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_workers_become_the_user_and_the_group(start):
    # Preloaded, because that user may not be able to read where Python is.
    twins = Twins(start, app="lean_echo:app", conf='user = "nobody"\ngroup = "daemon"\npreload_app = True\n')
    seen = process(twins)
    assert (seen["user"], seen["group"]) == ("nobody", "daemon")


def test_words_on_every_stream_end_where_the_settings_say(start):
    conf = "import pathlib\nerrorlog = str(pathlib.Path(__file__).with_name('errors'))\ncapture_output = True\n"
    twins = Twins(start, app="lean_echo:app", conf=conf, port_from="errors")
    twins.ask(get("/talks"))
    for server in twins.servers:
        errors = server.log_path.with_name("errors")
        until(lambda errors=errors: all(word in errors.read_text() for word in TALK))
        assert not any(word in server.log for word in TALK)


LOGCONFIG = """
[loggers]
keys = root, gunicorn.access, gunicorn.error
[handlers]
keys = access, errors
[formatters]
keys = plain
[logger_root]
handlers = errors
level = INFO
[logger_gunicorn.access]
handlers = access
level = INFO
qualname = gunicorn.access
propagate = 0
[logger_gunicorn.error]
handlers = errors
level = INFO
qualname = gunicorn.error
propagate = 0
[handler_access]
class = FileHandler
args = ("%(here)s/access",)
formatter = plain
[handler_errors]
class = FileHandler
args = ("%(here)s/errors",)
formatter = plain
[formatter_plain]
format = %(name)s %(levelname)s %(message)s
"""


@pytest.mark.parametrize("how", ["logconfig", "logconfig_dict"])
def test_a_logging_configuration_is_obeyed(start, how):
    """One of a file, one of a dictionary; both without ``accesslog``."""
    handlers = "{name: {'class': 'logging.FileHandler', 'filename': str(here / name)} for name in ('access', 'errors')}"
    conf = {
        "logconfig": f"(here / 'logging.ini').write_text({LOGCONFIG!r})\nlogconfig = str(here / 'logging.ini')",
        "logconfig_dict": f"""logconfig_dict = {{
    "handlers": {handlers},
    "root": {{"handlers": ["errors"]}},
    "loggers": {{
        "gunicorn.access": {{"level": "INFO", "handlers": ["access"], "propagate": False}},
        "gunicorn.error": {{"level": "INFO", "handlers": ["errors"], "propagate": False}},
    }},
}}""",
    }[how]
    conf = f"import pathlib\nhere = pathlib.Path(__file__).parent\naccess_log_format = {ATOMS!r}\n{conf}\n"
    twins = Twins(start, app="lean_echo:app", conf=conf, port_from="errors")
    for name in ("get", "post", "a stream", "an error", "garbage"):
        twins.ask(REQUESTS[name])
    expected, got = twins.logged("access")
    assert got == expected
    assert len(got) == 5
    for server in twins.servers:
        assert "ValueError: boom" in server.log_path.with_name("errors").read_text()


def test_statsd_gets_the_same_metrics(start):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(20)
        seen = []
        for worker in ("gthread", "greendock.contrib.lean.LeanWorker"):
            server = start(
                *("-k", worker, "--threads", "1", "--statsd-host", f"127.0.0.1:{statsd.getsockname()[1]}"),
                *("--statsd-prefix", f"{worker}.service", "--dogstatsd-tags", "region:here"),
                app="lean_echo:app",
            )
            for name in ("get", "post", "204", "an error", "garbage", "long line"):
                exchange(server, REQUESTS[name])
            counts = Counter()
            prefix = f"{worker}.service."
            while counts["gunicorn.requests:1|c|@1.0|#region:here"] < 6:  # /pid, and all but the garbage
                name = statsd.recv(1000).decode()
                if name.startswith(prefix):
                    # Timers and gauges vary.
                    counts[re.sub(r":[\d.]+\|(ms|g)", r":N|\1", name.removeprefix(prefix))] += 1
            seen.append({name: n for name, n in counts.items() if not name.startswith("gunicorn.workers:")})
            server.close()
    assert seen[0] == seen[1]
    assert seen[0].keys() >= {
        "gunicorn.request.duration:N|ms|#region:here",
        "gunicorn.request.status.200:1|c|@1.0|#region:here",
        "gunicorn.request.status.204:1|c|@1.0|#region:here",
        "gunicorn.request.status.500:1|c|@1.0|#region:here",
        "gunicorn.log.exception:1|c|@1.0|#region:here",
        "gunicorn.log.warning:1|c|@1.0|#region:here",
    }


def test_a_response_that_is_cut_off_is_logged_too(start):
    twins = Twins(start, "--access-logfile", "-", "--access-logformat", "access %(U)s %(s)s", app="lean_echo:app")
    for answers in twins.ask(get("/late")):
        assert "IncompleteRead" in answers[0][0]
    for server in twins.servers:
        client = server.connect(get("/endless"))
        client.sock.recv(1)
        client.close()
        exchange(server, get("/the-last"))
        until(lambda server=server: "access /the-last 200" in server.log)
        assert "access /late 200" in server.log
        assert "access /endless 200" in server.log


def test_the_access_log_goes_to_syslog(start):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        syslog.settimeout(20)
        args = ("--log-syslog", "--log-syslog-to", f"udp://127.0.0.1:{syslog.getsockname()[1]}")
        twins = Twins(start, *args, "--access-logformat", ATOMS, app="lean_echo:app")
        twins.ask(REQUESTS["post"])
        lines = []
        while len(lines) < 2:
            if "POST /form HTTP" in (line := syslog.recv(10000).decode()):
                lines.append(re.sub(r"\[\d+\]", "[pid]", line))
        assert lines[0] == lines[1]


#: The hooks of a WSGI server's life, by how many arguments they take.
HOOKS = {
    1: ["on_starting", "when_ready", "on_reload", "on_exit", "post_worker_init", "worker_int", "worker_abort"],
    2: ["pre_request", "pre_fork", "post_fork", "worker_exit", "child_exit"],
    3: ["nworkers_changed"],
    4: ["post_request"],
}


def test_every_hook_is_called_as_often(start):
    conf = "".join(
        f"def {name}({', '.join('abcd'[:count])}):\n"
        f"    with open(__file__ + '.hooks', 'a') as file: print('{name}', file=file)\n"
        for count, names in HOOKS.items()
        for name in names
    )
    twins = Twins(start, app="lean_echo:app", conf=conf)

    def called(server):
        return Counter(server.log_path.with_name("gunicorn.conf.py.hooks").read_text().split())

    for server in twins.servers:
        exchange(server, REQUESTS["get"])
        for number in (signal.SIGABRT, signal.SIGQUIT, signal.SIGHUP):
            before, (worker,) = called(server), server.pids()
            os.kill(server.process.pid if number == signal.SIGHUP else worker, number)
            until(lambda s=server, b=before: called(s)["post_worker_init"] > b["post_worker_init"])
            until(lambda server=server, worker=worker: len(server.pids() - {worker}) == len(server.pids()) == 1)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    expected, got = (called(server) for server in twins.servers)
    assert got == expected
    assert set(got) == {name for names in HOOKS.values() for name in names}


DIRTY = """
from gunicorn.dirty import DirtyApp, get_dirty_client
import os
class Heavy(DirtyApp):
    def init(self):
        self.seen = 0
    def work(self, text):
        self.seen += 1
        return [text.upper(), self.seen, os.getpid()]
    def close(self):
        pass
def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = repr(path == "/pid" or get_dirty_client().execute("heavy:Heavy", "work", path)[:2]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_dirty_workers_can_be_asked(start, tmp_path):
    """Without a twin: a second Gunicorn of the same application ends the dirty arbiter of the first as an orphan."""
    (tmp_path / "heavy.py").write_text(DIRTY)
    conf = "dirty_apps = ['heavy:Heavy']\ndirty_workers = 1\n"
    server = start("--pythonpath", str(tmp_path), app="heavy:app", conf=conf)
    until(lambda: server.get("/ready").status == 200)
    assert server.get("/a").text.startswith("['/A', ")
