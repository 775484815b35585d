"""The application called in a loop, without any server: `python -m bench.loop WORKLOAD SECONDS` prints the rate."""

from __future__ import annotations

import io
import sys
import time
from wsgiref.util import setup_testing_defaults

from bench import app
from bench.workloads import BY_NAME


def main(workload: str, seconds: float) -> float:
    """Return calls a second on one CPU."""
    environ: dict[str, object] = {"PATH_INFO": BY_NAME[workload].path, "REMOTE_ADDR": "127.0.0.1"}
    setup_testing_defaults(environ)
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        answer = app.wsgi(environ | {"wsgi.input": io.BytesIO()}, lambda *_: None)
        for _ in answer:
            pass
        if hasattr(answer, "close"):
            answer.close()
        calls += 1
    return calls / elapsed


if __name__ == "__main__":
    print(main(sys.argv[1], float(sys.argv[2])))
