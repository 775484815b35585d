"""Coverage-guided search for bytes that lean and Gunicorn read differently, for a bounded time.

    python tests/unit/lean/fuzz_lean_parser.py -max_total_time=60

Options are libFuzzer's. The corpus of the tests is where it starts; the first difference ends it with the bytes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["greendock.contrib.lean", "gunicorn.http"]):
    from lean_corpus import CORPUS
    from lean_differential import STRANGER, TRUSTED, UNIX, assert_same, make_config

CONFIGS = [
    make_config(),
    make_config(header_map="dangerous", forwarder_headers="*"),
    make_config(header_map="refuse", permit_obsolete_folding=True, strip_header_spaces=True),
    make_config(permit_unconventional_http_method=True, permit_unconventional_http_version=True),
    make_config(limit_request_line=30, limit_request_fields=3),
    make_config(limit_request_field_size=40, secure_scheme_headers={"X-FORWARDED-PROTO": "https"}),
]
PEERS = [TRUSTED, STRANGER, UNIX]


def fuzz(data: bytes) -> None:
    """The first byte chooses settings and peer, the rest is what the peer sends."""
    if data:
        peer = PEERS[data[0] % 3]
        server = "/run/app.sock" if peer == UNIX else ("127.0.0.1", 8000)
        assert_same(data[1:], CONFIGS[data[0] // 3 % 6], peer, server, ways=("whole", "threes"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(CORPUS.values()):
            (Path(folder) / str(number)).write_bytes(bytes([number % 18]) + data[:4096])
        atheris.Setup([sys.argv[0], "-max_len=4096", *sys.argv[1:], folder], fuzz)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
