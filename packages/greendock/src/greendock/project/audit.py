"""``greendock audit``: known vulnerabilities of what is in the images, as ``greendock sbom`` has written it.

Python packages by pip-audit, Debian's by debsbom and Debian's security tracker. What no database could be asked about
is "not checked", never "clean".
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greendock.project import tools
from greendock.project.tools import ToolError

TRACKER = "https://security-tracker.debian.org/tracker"
EXIT_CODES = (
    "Exit codes: 0 nothing is known; 1 something is, and there is a version without it; 2 something was not checked."
)


@dataclass
class Report:
    """``mendable``: a line each, with the version that mends it and the command. ``open``: how many have none yet."""

    mendable: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    open: int = 0

    def exit_code(self) -> int:
        return 2 if self.unchecked else 1 if self.mendable else 0


def main(arguments: Sequence[str]) -> int:
    """Print what is known; return the exit code, see EXIT_CODES."""
    parser = argparse.ArgumentParser(
        prog="greendock audit",
        description="Report known vulnerabilities of what `greendock sbom` found.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--skip", action="append", default=["greendock"], metavar="NAME", help="a package of your own")
    parser.add_argument("--tracker", default=TRACKER, metavar="URL", help=f"default: {TRACKER}")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: dist/*.cdx.json")
    options = parser.parse_args(arguments)
    files = options.files or sorted(Path("dist").glob("*.cdx.json"))
    report = Report()
    if not files:
        report.unchecked.append("there is no dist/*.cdx.json: `make sbom` writes them")
    try:
        _python(files, options.skip, report)
        for file in files:
            _debian(file, options.tracker, report)
    except (OSError, ValueError, KeyError) as error:
        report.unchecked.append(f"{type(error).__name__}: {error}")
    print(*report.mendable, sep="\n", end="\n" if report.mendable else "")
    if report.open:
        print(f"{report.open} more in Debian's packages, for which Debian has no mended version yet")
    for reason in report.unchecked:
        print(f"not checked: {reason}", file=sys.stderr)
    if not report.exit_code():
        print(f"nothing known in {', '.join(map(str, files))}")
    return report.exit_code()


def _python(files: Iterable[Path], skip: Sequence[str], report: Report) -> None:
    purls = {component.get("purl", "") for file in files for component in json.loads(file.read_text())["components"]}
    pins = sorted(purl.removeprefix("pkg:pypi/").replace("@", "==") for purl in purls if purl.startswith("pkg:pypi/"))
    pins = [pin for pin in pins if pin.partition("==")[0] not in skip]
    if not pins:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(pins))
        requirements.flush()
        command = ("pip-audit", "--requirement", requirements.name, "--no-deps", "--disable-pip", "--format", "json")
        try:
            # It exits with 1 for a finding, and with 0 where it has skipped everything.
            answer = json.loads(tools.run(*command, accepted=(0, 1)))
        except ToolError as error:
            report.unchecked.append(f"{len(pins)} Python packages: {error}")
            return
    judge_python(answer["dependencies"], report)


def judge_python(dependencies: Iterable[dict[str, Any]], report: Report) -> None:
    """Add pip-audit's answer about each package to ``report``."""
    for package in dependencies:
        if "skip_reason" in package:
            report.unchecked.append(package["skip_reason"])
        for known in package.get("vulns", ()):
            names = " ".join([known["id"], *known.get("aliases", ())])
            fixed = ", ".join(known["fix_versions"])
            command = f"scripts/uv lock --upgrade-package {package['name']}"
            line = f"{package['name']} {package['version']}: {names}; "
            report.mendable.append(line + (f"mended in {fixed}: {command}" if fixed else "no mended version is known"))


def _debian(file: Path, tracker: str, report: Report) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        database = f"{scratch}/tracker.json"
        command = ("debsbom", "sec-scan", "--db", database, "--update-db", "--tracker", tracker, "-f", "json", file)
        try:
            lines = tools.run(*command).splitlines()
        except ToolError as error:
            report.unchecked.append(f"Debian packages of {file}: {error}")
            return
    judge_debian(map(json.loads, lines), file, report)


def judge_debian(results: Iterable[dict[str, Any]], file: Path, report: Report) -> None:
    """Add debsbom's results about the source packages of ``file`` to ``report``."""
    for result in results:
        known = result["vulnerability"]
        if "fixed-in" not in known:
            report.open += 1
            continue
        command = "docker compose build --pull --no-cache"
        line = f"{result['package']} ({file.name}): {known['id']}, {known['urgency']}"
        report.mendable.append(f"{line}; mended in {known['fixed-in']}: {command}")
