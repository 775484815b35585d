"""``greendock audit``: what is known is told with its remedy, and what was not checked is never called clean."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from greendock.project import audit
from tests.support import clean_environment

DEBIAN = {
    "bom-ref": "pkg:deb/debian/openssl@3.0.0-1?arch=source&distro=trixie",
    "name": "openssl",
    "purl": "pkg:deb/debian/openssl@3.0.0-1?arch=source&distro=trixie",
    "supplier": {"name": "Debian"},
    "type": "library",
    "version": "3.0.0-1",
}


@contextmanager
def tracker(folder: Path, **status: str) -> Iterator[str]:
    """Debian's security tracker with one vulnerability of openssl."""
    known = {"openssl": {"CVE-2026-0001": {"releases": {"trixie": {"urgency": "high", **status}}}}}
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "json").write_text(json.dumps(known))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def sbom(tmp_path: Path) -> Path:
    file = tmp_path / "app.cdx.json"
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [DEBIAN]}
    file.write_text(json.dumps(document))
    return file


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["greendock", "audit", *map(str, arguments)]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False)


def test_a_debian_package_with_a_mended_version_is_named_with_it_and_the_command(sbom: Path, tmp_path: Path) -> None:
    with tracker(tmp_path / "tracker", status="resolved", fixed_version="3.0.0-2") as url:
        done = run("--tracker", url, sbom)
    assert done.returncode == 1, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("openssl")
    assert "CVE-2026-0001, high; mended in 3.0.0-2: docker compose build --pull --no-cache" in line


def test_what_debian_has_not_mended_yet_is_counted_and_no_failure(sbom: Path, tmp_path: Path) -> None:
    with tracker(tmp_path / "tracker", status="open") as url:
        done = run("--tracker", url, sbom)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "1 more in Debian's packages, for which Debian has no mended version yet"


def test_a_database_that_does_not_answer_is_not_checked_and_never_clean(sbom: Path) -> None:
    done = run("--tracker", "http://127.0.0.1:9", sbom)
    assert done.returncode == 2
    assert f"not checked: Debian packages of {sbom}: debsbom sec-scan" in done.stderr
    assert "nothing known" not in done.stdout


def test_without_a_list_of_what_is_in_the_images_nothing_is_checked(tmp_path: Path) -> None:
    done = subprocess.run(
        ["greendock", "audit"], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "not checked: there is no dist/*.cdx.json: `make sbom` writes them\n")


def test_a_python_package_is_named_with_the_version_and_the_command_and_a_skipped_one_is_not_checked() -> None:
    report = audit.Report()
    known = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-2"], "fix_versions": ["3.1.4"]}
    audit.judge_python(
        [
            {"name": "flask", "version": "3.1.0", "vulns": [known]},
            {"name": "click", "version": "8", "vulns": []},
            {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (1)"},
        ],
        report,
    )
    command = "scripts/uv lock --upgrade-package flask"
    assert report.mendable == [f"flask 3.1.0: PYSEC-2026-1 CVE-2026-2; mended in 3.1.4: {command}"]
    assert report.unchecked == ["Dependency not found on PyPI and could not be audited: ours (1)"]
    assert report.exit_code() == 2
