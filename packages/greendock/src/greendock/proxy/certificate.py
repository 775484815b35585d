"""A self-signed certificate for a developer's machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

_DAYS = "90"
_NAMES = "subjectAltName=DNS:localhost,DNS:*.localhost,IP:127.0.0.1,IP:::1"


def ensure_self_signed(certificate: Path, key: Path) -> None:
    """Make ``certificate`` and ``key`` (readable by this account only) unless both are there.

    Raises ``OSError`` or ``subprocess.CalledProcessError``; needs the ``openssl`` program.
    """
    if certificate.is_file() and key.is_file():
        return
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    subject = ("-subj", "/CN=localhost", "-addext", _NAMES, "-days", _DAYS)
    command = ["openssl", "req", "-x509", *curve, *subject, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, text=True, umask=0o077)
