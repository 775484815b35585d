"""What readiness says, what is lost and how long it takes, fault by fault: `python -m tests.measure.faults`.

One real Gunicorn with two workers behind a real Nginx, 100 GET and 100 POST a second over kept-alive connections. The
readiness is read every 20 ms. Figures depend on the machine; the order of magnitude does not.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from greendock.runtime import healthcheck
from greendock.testing.load import load
from tests.process.proxy.support import Proxy
from tests.support import Server, local_nginx, wait_for

APPLICATION = """
import os, time
def app(environ, start_response):
    environ["wsgi.input"].read()
    time.sleep(0.002)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


class Watch:
    """Every change of what the healthcheck says, with its time in seconds."""

    def __init__(self, server: Server) -> None:
        self.said: list[tuple[float, str]] = []
        self._path, self._stop = str(server.ready_file), threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            reason = str(healthcheck.check(self._path)["reason"])
            if not self.said or self.said[-1][1] != reason:
                self.said.append((time.monotonic() - self._began, reason))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _signal_master(number: signal.Signals) -> Callable[[Server], None]:
    return lambda server: server.signal(number)


def _kill_worker(server: Server) -> None:
    os.kill(min(server.workers()), signal.SIGKILL)


def _stop_worker(server: Server) -> None:
    os.kill(min(server.workers()), signal.SIGSTOP)  # a worker that hangs: ended after GUNICORN_TIMEOUT


def _break_and_reload(server: Server) -> None:
    server.write_app("raise RuntimeError('broken')")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed")
    server.write_app(APPLICATION)


def _break_configuration(server: Server) -> None:
    (server.folder / ".env").write_text("GUNICORN_BACKLOG=soon\n")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed")
    (server.folder / ".env").unlink()


def _restart(server: Server) -> None:
    server.signal(signal.SIGTERM)
    server.wait_exit()
    server.start()


def _kill_master(server: Server) -> None:
    workers = server.workers()
    server.signal(signal.SIGKILL)
    server.wait_exit()
    for worker in workers:  # in a container they end with its first process
        os.kill(worker, signal.SIGKILL)
    server.start()


FAULTS: dict[str, Callable[[Server], None]] = {
    "HUP": _signal_master(signal.SIGHUP),
    "HUP onto broken code": _break_and_reload,
    "HUP onto a broken configuration": _break_configuration,
    "TTIN": _signal_master(signal.SIGTTIN),
    "worker killed": _kill_worker,
    "worker hung (timeout 2 s)": _stop_worker,
    "TERM and start, the only replica": _restart,
    "master killed, started again": _kill_master,
}


def main() -> None:
    """Print one row for each fault."""
    nginx = local_nginx()
    print("| fault | readiness (seconds after the fault) | ready again after | lost of sent |\n|---|---|---|---|")
    for name, fault in FAULTS.items():
        with tempfile.TemporaryDirectory() as folder:
            server = Server(Path(folder), GUNICORN_TIMEOUT="2", GREENDOCK_DRAIN_SECONDS="1")
            server.write_app(APPLICATION)
            proxy = Proxy(Path(folder, "proxy"), nginx, UPSTREAM=f"127.0.0.1:{server.port}")
            try:
                server.start().wait_ready("2/2")
                proxy.start()
                with load(proxy.url + "/", rate=100) as gets, load(proxy.url + "/", rate=100, post=True) as posts:
                    warm = time.monotonic()
                    wait_for(lambda since=warm: time.monotonic() > since + 1, "load")
                    with Watch(server) as watch:
                        fault(server)
                        wait_for(lambda w=watch: time.monotonic() > w._began + 4, "four seconds")
                        server.wait_ready()
                print(
                    _row(name, watch, gets.result.failed + posts.result.failed, gets.result.total + posts.result.total)
                )
            finally:
                proxy.close()
                server.close()


def _row(name: str, watch: Watch, lost: int, sent: int) -> str:
    said = "; ".join(f"{at:.1f} {reason}" for at, reason in watch.said)
    unready = [at for at, reason in watch.said if not reason.startswith("ready")]
    again = [at for at, reason in watch.said if reason.startswith("ready") and unready and at > unready[0]]
    recovered = f"{again[-1] - unready[0]:.1f} s" if again else "always ready"
    return f"| {name} | {said} | {recovered} | {lost} of {sent} |"


if __name__ == "__main__":
    main()
