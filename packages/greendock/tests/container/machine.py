"""A machine with nothing but Debian, git, make and Python: a container with an engine of its own, once it installs one.

Of this machine it gets the package sources (mirror, index) and the certificates, and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.container.support import docker
from tests.support import ROOT

_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_PACKAGES = "ca-certificates,git,make,python3"
_START = Path(__file__).parent / "engine" / "start"
_SITE = "/root/site"
_BUILD_SECONDS = 600.0
# Where packages come from, as far as this machine's environment says so.
_SOURCES = re.compile(r"(PIP|UV)_(DEFAULT_|EXTRA_)?INDEX(_URL)?|(HTTPS?|ALL|NO)_PROXY", re.IGNORECASE)


class Machine:
    """A fresh machine; ``suite`` is the release of Debian it has."""

    def __init__(self, name: str, suite: str = "trixie") -> None:
        self.name, self.suite = name, suite
        self.environment = {key: value for key, value in os.environ.items() if _SOURCES.fullmatch(key)}

    def start(self, folder: Path) -> None:
        """Make the root file system in ``folder``, start a container of it, and put the checkout there."""
        archive = _root_file_system(folder, self.suite)
        docker("import", str(archive), self.name)
        archive.unlink()
        # overlay2 does not work on top of overlay2: the engine's folder is a volume.
        docker("run", "--detach", "--init", "--privileged", "--name", self.name, "--hostname", "fresh",
               "--volume", "/var/lib/docker", "--volume", f"{_START}:/usr/local/bin/start:ro",
               self.name, "start", "sleep", "infinity")  # fmt: skip
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        files = b"\0".join(name for name in names.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists())
        checkout = folder / "checkout.tar"
        subprocess.run(["tar", "--create", "--null", "--files-from=-", f"--file={checkout}"], cwd=ROOT, check=True, input=files)  # noqa: E501  # fmt: skip
        docker("exec", self.name, "mkdir", "--parents", _SITE)
        docker("cp", str(checkout), f"{self.name}:/root/checkout.tar")
        self.run("tar --extract --file /root/checkout.tar && git init --quiet && git add --all")

    def run(self, command: str, deadline: float = 60, **environment: str) -> str:
        """Run a shell command in the checkout; return what it printed, which is also in the error when it fails."""
        options = [f"--env={name}={value}" for name, value in {**self.environment, **environment}.items()]
        done = subprocess.run(
            ["docker", "exec", "--workdir", _SITE, *options, self.name, "bash", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=deadline,
            check=False,
        )
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def remove(self) -> None:
        """Leave nothing behind."""
        docker("rm", "--force", "--volumes", self.name, check=False)
        docker("image", "rm", "--force", self.name, check=False)


def _root_file_system(folder: Path, suite: str) -> Path:
    archive, certificates = folder / "root.tar", folder / "certificates"
    certificates.mkdir()
    for certificate in _CERTIFICATES.rglob("*.crt"):
        shutil.copy(certificate, certificates)
    mirror = ["bash", "-c", ". scripts/lib.sh && . scripts/apt.sh && debian_mirror"]
    subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}"),
            *('--aptopt=Acquire::Check-Valid-Until "false"', '--aptopt=Acquire::Languages "none"'),
            f"--customize-hook=sync-in '{certificates}' {_CERTIFICATES}",
            '--customize-hook=chroot "$1" update-ca-certificates >/dev/null 2>&1',
            *(suite, str(archive)),
            subprocess.run(mirror, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip(),
        ],
        check=True,
        timeout=_BUILD_SECONDS,
    )
    return archive
