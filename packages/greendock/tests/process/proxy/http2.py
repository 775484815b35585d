"""HTTP/2 frames put together by hand: what no client library would send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import hpack
from hyperframe.frame import Frame, HeadersFrame, RstStreamFrame, SettingsFrame

from tests.process.proxy.support import Proxy, handshake, unverified

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Header = tuple[str | bytes, str | bytes]


class Http2:
    """One connection to the proxy. What is sent after Nginx has closed it is lost without an error."""

    def __init__(self, proxy: Proxy) -> None:
        self.socket = handshake(proxy, "localhost", unverified("h2"))
        self.encoder = hpack.Encoder()
        self.send(PREFACE, SettingsFrame(0))

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: Frame | bytes) -> bool:
        """Send frames or bytes; say whether the connection is still open."""
        try:
            self.socket.sendall(b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts))
        except OSError:
            return False
        return True

    def request(self, stream: int, path: str | bytes = "/", extra: Iterable[Header] = (), *, end: bool = True) -> Frame:
        """Return a GET, or a POST whose body follows, that no header of ``extra`` has been checked in."""
        headers: list[Header] = [
            (":method", "GET" if end else "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
        ]
        return self.headers(stream, [*headers, *extra], end=end)

    def headers(self, stream: int, headers: Iterable[Header], *, end: bool = True) -> Frame:
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        return HeadersFrame(stream, self.encoder.encode(list(headers)), flags=flags)

    def received(self) -> Iterator[Frame]:
        """Yield frames until Nginx closes the connection."""
        data = b""
        with suppress(OSError):
            while chunk := self.socket.recv(65536):
                data += chunk
                while len(data) >= 9:
                    frame, length = Frame.parse_frame_header(memoryview(data)[:9])
                    if len(data) < 9 + length:
                        break
                    frame.parse_body(memoryview(data)[9 : 9 + length])
                    data = data[9 + length :]
                    yield frame

    def status(self, stream: int) -> str:
        """Return the status of a stream; ``reset`` or ``closed`` where Nginx has ended it, or the connection."""
        decoder = hpack.Decoder()
        for frame in self.received():
            fields = dict(decoder.decode(frame.data)) if isinstance(frame, HeadersFrame) else {}
            if frame.stream_id == stream and fields:
                return str(fields.get(":status"))
            if frame.stream_id == stream and isinstance(frame, RstStreamFrame):
                return "reset"
        return "closed"
