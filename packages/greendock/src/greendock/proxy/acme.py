"""The certificate of ``NGINX_TLS=acme``: certbot gets and renews it, Nginx takes it from a folder that both see.

``NGINX_ACME_DIR`` is that folder: the challenges, and ``tls.pem``, key and chain in one file, so that neither can be
there without the other. What only certbot needs, the account among it, lies in ``NGINX_ACME_STATE_DIR``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

_LOOK = 12 * 3600.0
_RETRY = 300.0
_LONGEST_REASON = 400


class AcmeError(Exception):
    """There is no new certificate; the text says why, on one line."""


def webroot(values: Mapping[str, Any]) -> Path:
    """Return the folder to whose ``.well-known/acme-challenge`` certbot writes."""
    return Path(values["NGINX_ACME_DIR"]) / "webroot"


def certificate(values: Mapping[str, Any]) -> Path:
    """Return the file that holds key and chain."""
    return Path(values["NGINX_ACME_DIR"]) / "tls.pem"


def pause(failures: int) -> float:
    """Return the seconds until the next look: half a day; after failures 5 minutes, doubled for each, up to that.

    Let's Encrypt allows five failed validations of a name in an hour: https://letsencrypt.org/docs/rate-limits/.
    """
    return min(_RETRY * 2.0 ** (failures - 1), _LOOK) if failures else _LOOK


def obtain(values: Mapping[str, Any]) -> bool:
    """Get the first certificate, or a new one where it is time; say whether Nginx has a new one to take.

    Raises ``AcmeError``; ``OSError`` where a folder cannot be written.
    """
    folder = webroot(values)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    # A folder for each CA: a certificate of a CA's test server does not count as one of the CA's.
    state = Path(values["NGINX_ACME_STATE_DIR"]) / str(urlsplit(values["NGINX_ACME_DIRECTORY"]).hostname)
    email = values["NGINX_ACME_EMAIL"]
    contact = ["--email", email] if email else ["--register-unsafely-without-email"]
    folders = [f"--{name}-dir={state / name}" for name in ("config", "work", "logs")]
    how = ["--non-interactive", "--agree-tos", "--keep-until-expiring", "--renew-with-new-domains", *contact]
    where = [*folders, "--max-log-backups=9", f"--server={values['NGINX_ACME_DIRECTORY']}"]
    what = ["--cert-name=site", f"--domains={','.join(values['NGINX_SERVER_NAMES'])}"]
    command = ["certbot", "certonly", *how, *where, "--webroot", f"--webroot-path={folder}", *what]
    bundle = values["NGINX_ACME_CA"]
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": bundle} if bundle else None
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise AcmeError("there is no certbot here: this command is for the service acme") from error
    if done.returncode != 0:
        raise AcmeError(reason(done.stderr + done.stdout))
    lineage = state / "config" / "live" / "site"
    return _hand_over((lineage / "privkey.pem").read_text() + (lineage / "fullchain.pem").read_text(), values)


def reason(output: str) -> str:
    """Return on one line what certbot says is wrong: the CA's own words where it has some."""
    details = re.findall(r"^ *(?:Domain|Identifier|Detail): (.+)$", output, re.MULTILINE)
    if details:
        text = "; ".join(f"{name}: {detail}" for name, detail in zip(details[::2], details[1::2], strict=False))
    else:
        unexpected = output.partition("An unexpected error occurred:\n")[2] or output
        lines = [line for line in unexpected.splitlines() if line and not line.startswith(("Ask for help", "Saving"))]
        text = lines[0] if lines else "certbot says nothing"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"


def _hand_over(pem: str, values: Mapping[str, Any]) -> bool:
    """Put key and chain where Nginx looks, readable by this account only; say whether they are new."""
    file = certificate(values)
    if file.is_file() and file.read_text() == pem:
        return False
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o400)
    new.chmod(0o600)
    new.write_text(pem)
    new.chmod(0o400)
    new.replace(file)
    return True


def _end(file: Path) -> str:
    """Return until when the certificate in ``file`` is valid, in openssl's words; empty: there is none."""
    command = ["openssl", "x509", "-noout", "-enddate", "-in", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("notAfter=")


def run(values: Mapping[str, Any]) -> NoReturn:
    """Have a certificate for ever: look twice a day, and at once after SIGHUP. SIGTERM and SIGINT end it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    # Blocked, so that one that comes while certbot works is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    keep(values, obtain, lambda seconds: signal.sigtimedwait({signal.SIGHUP}, seconds))


def keep(
    values: Mapping[str, Any], obtain: Callable[[Mapping[str, Any]], bool], wait: Callable[[float], object]
) -> NoReturn:
    """Call ``obtain`` for ever, ``wait`` between, and log one line for each certificate and each failure."""
    names, file, failures = ", ".join(values["NGINX_SERVER_NAMES"]), certificate(values), 0
    while True:
        try:
            news = obtain(values)
        except (AcmeError, OSError) as error:
            failures += 1
            end = _end(file)
            kept = f"the one in use ends on {end}" if end else "Nginx has a self-signed one"
            again = f"the next try is in {pause(failures) / 60:.0f} minutes"
            print(f"greendock: no new certificate for {names}: {error}; {kept}; {again}", file=sys.stderr, flush=True)
        else:
            failures = 0
            if news:
                print(f"greendock: a certificate for {names}, until {_end(file)}", file=sys.stderr, flush=True)
        wait(pause(failures))
