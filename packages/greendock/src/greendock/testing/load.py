"""Load for tests and measurements: a steady stream by ``hey``, and the clients that are harder to please.

    with load(url, rate=200) as running:
        ...
    assert running.result.failed == 0

Every client counts each of its outcomes: a status as ``"200"``, a failure by its reason.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

_TIMEOUT = 20
# After a failure: no faster than this while there is nobody to ask.
_PAUSE = 0.1


@dataclass
class Result:
    """Counts by outcome, and latencies in seconds (``None`` when nothing was measured)."""

    outcomes: Counter[str] = field(default_factory=Counter)
    p50: float | None = None
    p99: float | None = None
    slowest: float | None = None
    good: tuple[str, ...] = ("200",)

    @property
    def total(self) -> int:
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        return sum(count for outcome, count in self.outcomes.items() if outcome not in self.good)


@dataclass
class Running:
    """A client at work; ``result`` is complete when the block has ended."""

    result: Result = field(default_factory=Result)


@contextlib.contextmanager
def load(url: str, *, rate: int = 200, post: bool = False, clients: int = 10, fresh: bool = False) -> Iterator[Running]:
    """Ask ``url`` ``rate`` times a second over ``clients`` kept-alive connections until the block ends.

    ``fresh``: with a new connection for each request.

    ``hey`` is Debian's package of that name, https://github.com/rakyll/hey. Its connections are Go's: an idle one that
    the server closes is opened again, and a GET that fails on one is sent once more, as browsers do. A POST that has
    been sent is not.
    """
    running = Running()
    body = ["-m", "POST", "-T", "application/octet-stream", "-d", "x" * 512] if post else []
    body += ["-disable-keepalive"] if fresh else []
    command = ["hey", "-z", "1h", "-c", str(clients), "-q", f"{rate / clients:g}", "-t", str(_TIMEOUT), *body, url]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield running
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_TIMEOUT * 2)
            output.seek(0)
            _read_report(output.read(), running.result)


def _read_report(text: str, result: Result) -> None:
    for count, status in [(int(n), s) for s, n in re.findall(r"^\s*\[(\d{3})\]\s+(\d+) responses", text, re.MULTILINE)]:
        result.outcomes[status] += count
    errors = text.partition("Error distribution:")[2]
    for number, reason in re.findall(r"^\s*\[(\d+)\]\s+(.*)$", errors, re.MULTILINE):
        result.outcomes[_reason(reason)] += int(number)
    times = {name: float(seconds) for name, seconds in re.findall(r"^\s*(\d+%) in ([\d.]+) secs", text, re.MULTILINE)}
    result.p50, result.p99 = times.get("50%"), times.get("99%")
    slowest = re.search(r"Slowest:\s+([\d.]+) secs", text)
    result.slowest = float(slowest[1]) if slowest else None
    if not result.outcomes:
        raise AssertionError(f"hey told nothing:\n{text}")


def _reason(text: str) -> str:
    """Return the end of Go's error, which holds the cause and not the connection's ports."""
    return text.rpartition(": ")[2].strip()


@contextlib.contextmanager
def slow_requests(url: str, *, clients: int = 3) -> Iterator[Running]:
    """Ask ``url``, which takes its time, again and again over ``clients`` kept-alive connections."""
    with _repeating([_Requests(url) for _ in range(clients)]) as running:
        yield running


@contextlib.contextmanager
def uploads(url: str, *, seconds: float = 4, size: int = 1 << 20) -> Iterator[Running]:
    """Send bodies of ``size`` bytes, each over ``seconds``, one after the other."""
    with _repeating([_Uploads(url, seconds, size)]) as running:
        yield running


@contextlib.contextmanager
def streams(url: str) -> Iterator[Running]:
    """Read ``url``, which sends events for a while, to its end, again and again; one cut short has failed."""
    with _repeating([_Streams(url)]) as running:
        yield running


@contextlib.contextmanager
def websocket(url: str) -> Iterator[Running]:
    """Keep a WebSocket open, exchange a message ten times a second, and connect again whenever it is closed.

    Outcomes: ``message``, ``connected``, ``closed N`` with the close code (1006: without a close frame), and failures
    to connect. A close is not a failure: nothing but the client can carry a WebSocket over to another server. The
    result's ``slowest`` is the longest time from a close to the next connection.
    """
    client = _WebSocket(url)
    with _repeating(
        [client], good=("message", "connected", *(f"closed {code}" for code in range(1000, 1016)))
    ) as running:
        yield running
        running.result.slowest = client.gap


# One exchange or, for a connection that stays, one session: yields its outcomes.
Client = Callable[[], Generator[str, None, None]]


@contextlib.contextmanager
def _repeating(clients: list[Client], good: tuple[str, ...] = ("200",)) -> Iterator[Running]:
    running = Running(Result(good=good))
    stop = threading.Event()

    def work(client: Client) -> None:
        while not stop.is_set():
            with contextlib.closing(client()) as outcomes:
                for outcome in outcomes:
                    running.result.outcomes[outcome] += 1
                    if stop.is_set():
                        break

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        stop.set()
        for thread in threads:
            thread.join(_TIMEOUT * 2)


class _Requests:
    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._connection: http.client.HTTPConnection | None = None

    def __call__(self) -> Generator[str, None, None]:
        connection = self._connection or http.client.HTTPConnection(self._target.netloc, timeout=_TIMEOUT)
        self._connection = connection
        try:
            connection.request("GET", self._target.path)
            response = connection.getresponse()
            response.read()
            yield str(response.status)
            if response.status == 200:
                return
        except (OSError, http.client.HTTPException) as error:
            self._connection = None
            connection.close()
            yield type(error).__name__
        time.sleep(_PAUSE)


class _Uploads:
    def __init__(self, url: str, seconds: float, size: int, chunks: int = 40) -> None:
        self._target = urlsplit(url)
        self._pause = seconds / chunks
        self._chunk = b"x" * (size // chunks)
        self._chunks = chunks

    def __call__(self) -> Generator[str, None, None]:
        length = str(len(self._chunk) * self._chunks)
        upload = (self._body(), {"Content-Length": length})
        return _outcome(self._target, "POST", lambda text: text.split()[-1:] == [length.encode()], *upload)

    def _body(self) -> Iterator[bytes]:
        for _ in range(self._chunks):
            yield self._chunk
            time.sleep(self._pause)  # a slow client


class _Streams:
    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)

    def __call__(self) -> Generator[str, None, None]:
        return _outcome(self._target, "GET", lambda text: text.endswith(b"data: end\n\n"))


def _outcome(
    target: SplitResult,
    method: str,
    whole: Callable[[bytes], bool],
    body: Iterator[bytes] | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Generator[str, None, None]:
    """Send one request on a connection of its own; yield its status, what went wrong, or that a 200 was not whole."""
    connection = http.client.HTTPConnection(target.netloc, timeout=_TIMEOUT)
    try:
        connection.request(method, target.path, body, headers)
        response = connection.getresponse()
        text = response.read()
        yield str(response.status) if response.status != 200 or whole(text) else "cut short"
    except (OSError, http.client.HTTPException) as error:
        yield type(error).__name__
        time.sleep(_PAUSE)
    finally:
        connection.close()


class _WebSocket:
    def __init__(self, url: str) -> None:
        self._url = url.replace("http", "ws", 1)
        self._closed: float | None = None
        self.gap: float | None = None

    def __call__(self) -> Generator[str, None, None]:
        try:
            with connect(self._url, open_timeout=_TIMEOUT, compression=None, ping_interval=None) as connection:
                if self._closed is not None:
                    self.gap = max(self.gap or 0, time.monotonic() - self._closed)
                    self._closed = None
                yield "connected"
                while True:
                    connection.send("hello")
                    connection.recv(timeout=_TIMEOUT)
                    yield "message"
                    time.sleep(0.1)
        except ConnectionClosed as error:
            self._closed = self._closed or time.monotonic()
            yield f"closed {error.rcvd.code if error.rcvd else 1006}"
        except (OSError, InvalidHandshake) as error:
            yield type(error).__name__
            time.sleep(_PAUSE)


def table(rows: Iterable[tuple[str, Result]]) -> str:
    """Return results as a Markdown table, one named row each."""
    lines = ["| client | total | failed | p50 ms | p99 ms | slowest ms | outcomes |", "|---|---|---|---|---|---|---|"]
    for name, result in rows:
        times = " | ".join("–" if t is None else f"{t * 1000:.0f}" for t in (result.p50, result.p99, result.slowest))
        outcomes = ", ".join(f"{outcome}: {count}" for outcome, count in sorted(result.outcomes.items()))
        lines.append(f"| {name} | {result.total} | {result.failed} | {times} | {outcomes} |")
    return "\n".join(lines)
