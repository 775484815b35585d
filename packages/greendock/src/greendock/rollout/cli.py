"""``greendock rollout``: replace the running application, or Nginx, on this host. Run it in the project's folder.

Exit codes: 0 done; 1 not rolled out, or not in full, for the reason in the last line; 2 a wrong command line.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from greendock.rollout.engine import Engine, EngineError
from greendock.rollout.progress import Progress
from greendock.rollout.rollout import Options
from greendock.rollout.site import SiteRollout
from greendock.rollout.waiting import RolloutError


def main(arguments: Sequence[str]) -> int:
    """Run one rollout; return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.nginx and (chosen.source in ("previous", "canary") or chosen.canary):
        parser.error("--nginx goes with --no-build; a canary and --back are for the application")
    if chosen.canary and chosen.source in ("previous", "canary"):
        parser.error("--canary begins, --promote or --back decides")
    # As Ctrl-C: what was begun is undone. What `nohup` ignores stays ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    options = Options(
        chosen.source, chosen.timeout, chosen.dry_run, chosen.app, chosen.canary, 0 if chosen.hold else chosen.seconds
    )
    try:
        project = Path.cwd()
        with _locked(project) as lock:
            app, nginx = not chosen.nginx, not chosen.app and chosen.source != "previous"
            SiteRollout(Engine(project, lock), Progress(), options, app=app, nginx=nginx).run()
    except (EngineError, RolloutError) as error:
        print(f"rollout: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rollout: interrupted; the old version serves", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="greendock rollout",
        description="Replace what has changed, application and Nginx, without losing a request. See docs/deploying.md.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--back", dest="source", action="store_const", const="previous", help="go back to the version before this one"
    )
    source.add_argument(
        "--no-build", dest="source", action="store_const", const="present", help="take the image as it is, e.g. pulled"
    )
    source.add_argument(
        "--promote", dest="source", action="store_const", const="canary", help="give the canary all requests"
    )
    parser.set_defaults(source="build")
    narrow = parser.add_mutually_exclusive_group()
    narrow.add_argument("--app", action="store_true", help="the application alone, changed or not")
    narrow.add_argument("--nginx", action="store_true", help="Nginx alone: a reload where nothing but files differs")
    parser.add_argument(
        "--canary",
        type=_percent,
        default=0,
        metavar="PERCENT",
        help="give the new version this share of the requests first",
    )
    parser.add_argument(
        "--for",
        dest="seconds",
        type=float,
        default=300,
        metavar="SECONDS",
        help="how long the canary is watched before it gets all requests (default: %(default)s)",
    )
    parser.add_argument("--hold", action="store_true", help="leave the canary until --promote or --back decides")
    parser.add_argument("--dry-run", action="store_true", help="print the steps and change nothing")
    parser.add_argument(
        "--timeout", type=float, default=180, metavar="SECONDS", help="to become healthy in (default: %(default)s)"
    )
    return parser


def _percent(text: str) -> int:
    share = text.removesuffix("%")
    if not (share.isascii() and share.isdigit() and 1 <= int(share) <= 99):
        raise argparse.ArgumentTypeError(f"{text}: accepted: 1% to 99%")
    return int(share)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the project's lock. The kernel drops it with the last process that has it open, however that ends."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RolloutError("another rollout of this project is under way; nothing was changed") from None
    else:
        yield lock
    finally:
        os.close(lock)
