"""``greendock upgrade``: the template's next version, by Copier's three-way update. Run it in the project's folder.

Exit codes: 0 done; 1 nothing was changed, or both changed the same lines, as the last line says.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from greendock.project import tools

COPIER = "copier==9.19.1"
ANSWERS = ".copier-answers.yml"
HELP = f"""usage: greendock upgrade [argument of `copier update`]...

Bring this project the template's next version. --vcs-ref v0.3.0 takes that one, --data name=value changes an answer.
Uses {COPIER}. What you changed stays; what both changed is marked as git marks a conflict."""


class UpgradeError(Exception):
    """The upgrade cannot be made; the text is one sentence."""


def main(arguments: Sequence[str], folder: Path | None = None) -> int:
    """Upgrade the project in ``folder`` (default: the current one); return the exit code."""
    if set(arguments) & {"-h", "--help"}:
        print(HELP)
        return 0
    folder = folder or Path.cwd()
    try:
        _check(folder)
        _update(folder, arguments)
        conflicts = _output(folder, "git", "diff", "--name-only", "--relative", "--diff-filter=U").splitlines()
        if conflicts:
            _say(
                f"both you and the template changed {', '.join(conflicts)}: resolve what is marked there, then uv lock"
            )
            return 1
        _run(folder, tools.uv(folder), "lock", "--quiet")
    except UpgradeError as error:
        _say(str(error))
        return 1
    _say("done: packages/greendock/CHANGELOG.md says what is new; git diff, make test, then commit")
    return 0


def _check(folder: Path) -> None:
    """Raise ``UpgradeError`` unless this is a project that Copier made, with everything committed."""
    if not (folder / ANSWERS).exists():
        raise UpgradeError(f"this folder has no {ANSWERS}, so no project was made here by Copier; nothing was changed")
    changed = _output(folder, "git", "status", "--porcelain")
    if changed:
        raise UpgradeError(f"{len(changed.splitlines())} files are not committed; commit or stash first")


def _update(folder: Path, arguments: Sequence[str]) -> None:
    # A person is asked what is new; elsewhere the defaults have to do.
    asking = ["--skip-answered"] if sys.stdin.isatty() else ["--defaults"]
    _run(folder, tools.uv(folder), "tool", "run", "--quiet", COPIER, "update", "--quiet", *asking, *arguments)


def _output(folder: Path, *command: str) -> str:
    return _run(folder, *command, stdout=subprocess.PIPE)


def _run(folder: Path, *command: str, stdout: int | None = None) -> str:
    """Return what a command prints. Raises ``UpgradeError`` with the last line of its errors when it fails."""
    try:
        done = subprocess.run(command, cwd=folder, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        raise UpgradeError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{command[0]} failed"]
        raise UpgradeError(lines[-1])
    return done.stdout or ""


def _say(text: str) -> None:
    print(f"upgrade: {text}", file=sys.stderr)
