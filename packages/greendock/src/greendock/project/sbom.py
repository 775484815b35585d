"""``greendock sbom``: what is in the images, as CycloneDX. Run it in the project's folder, after a build.

Debian's packages by debsbom, Python's by cyclonedx-bom; the hashes of the latter come from uv.lock, by uv itself.
All three are in the extra ``audit``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greendock.project import tools
from greendock.project.tools import ToolError

SERVICES = ("app", "nginx")
# apt's lists hold the hashes of the packages; without a network the rest is still true.
_LISTS = "apt-get update -qq >/dev/null 2>&1 || echo no package index could be reached"


def main(arguments: Sequence[str]) -> int:
    """Write one file for each service's image; return the exit code: 0 when all are written."""
    parser = argparse.ArgumentParser(prog="greendock sbom", description="Write what is in each image, as CycloneDX.")
    parser.add_argument("--output", type=Path, default=Path("dist"), metavar="FOLDER", help="default: dist")
    parser.add_argument("services", nargs="*", default=SERVICES, metavar="SERVICE", help="default: app nginx")
    options = parser.parse_args(arguments)
    try:
        images = images_of(options.services)
        options.output.mkdir(parents=True, exist_ok=True)
        for service, image in images.items():
            file = options.output / f"{service}.cdx.json"
            document = describe(image)
            file.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
            print(f"{file}: {len(document['components'])} components of {image}")
    except (ToolError, OSError) as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    return 0


def images_of(services: Sequence[str]) -> dict[str, str]:
    """Return the image of each service, as the Compose file says. Raises ToolError for a service it does not have."""
    known = json.loads(tools.run("docker", "compose", "--profile", "*", "config", "--format", "json"))["services"]
    if unknown := sorted(set(services) - known.keys()):
        raise ToolError(f"no such service: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return {service: known[service]["image"] for service in services}


def describe(image: str) -> dict[str, Any]:
    """Return a CycloneDX document with every Debian and Python package of ``image``."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root.tar"
        digest = _export(image, root)
        tools.run(
            "debsbom", "generate", "--root", root, "--sbom-type", "cdx", "--with-licenses", "-o", f"{scratch}/debian"
        )
        document: dict[str, Any] = json.loads(Path(scratch, "debian.cdx.json").read_text())
        document["components"] += _python_packages(root, Path(scratch))
    document["metadata"]["component"] |= {"type": "container", "name": image, "version": digest}
    return document


def _export(image: str, target: Path) -> str:
    """Write the image's files, with apt's lists, to ``target``; return the image's id."""
    with _container(image) as container:
        if said := tools.run("docker", "start", "--attach", container).strip():
            print(f"sbom: {image}: {said}: Debian packages have no hashes", file=sys.stderr)
        tools.run("docker", "export", "--output", target, container)
    return tools.run("docker", "image", "inspect", "--format", "{{.Id}}", image).strip()


@contextmanager
def _container(image: str) -> Iterator[str]:
    create = ("docker", "create", "--user", "0", "--entrypoint", "sh", image, "-c", _LISTS)
    container = tools.run(*create).strip()
    try:
        yield container
    finally:
        tools.run("docker", "rm", "--force", "--volumes", container)


def _python_packages(root: Path, scratch: Path) -> list[dict[str, Any]]:
    packages = scratch / "packages"
    with tarfile.open(root) as archive:
        metadata = [member for member in archive if re.search(r"-packages/[^/]+\.dist-info/", member.name)]
        for member in metadata:
            # Debian's own Python packages are Debian packages already.
            if member.isfile() and "/dist-packages/" not in member.name:
                member.name = member.name.partition("-packages/")[2]
                archive.extract(member, packages, filter="data")
    if not packages.exists():
        return []
    # cyclonedx-py asks an interpreter where its packages lie.
    interpreter = scratch / "python"
    interpreter.write_text(f"#!/bin/sh\necho '{json.dumps([str(packages)])}'\n")
    interpreter.chmod(0o755)
    components: list[dict[str, Any]] = json.loads(tools.run("cyclonedx-py", "environment", interpreter))["components"]
    sources = _locked()
    for component in components:
        component["bom-ref"] = component["purl"] = f"pkg:pypi/{_normal(component['name'])}@{component['version']}"
        component["externalReferences"] = component.get("externalReferences", []) + sources.get(component["purl"], [])
    return components


def _locked() -> dict[str, list[dict[str, Any]]]:
    """Return each locked package's files with their hashes, by its package URL."""
    command = (
        tools.uv(Path.cwd()),
        "export",
        "--quiet",
        "--locked",
        "--no-default-groups",
        "--format",
        "cyclonedx1.5",
    )
    components = json.loads(tools.run(*command))["components"]
    return {component.get("purl", ""): component.get("externalReferences", []) for component in components}


def _normal(name: str) -> str:
    """Return a name as package indexes write it: https://packaging.python.org/en/latest/specifications/name-normalization/."""
    return re.sub(r"[-_.]+", "-", name).lower()
