"""Static files: their fingerprints, and their compressed twins.

A URL carries a file's fingerprint as ``?v=<fingerprint>``. Nginx says "immutable" only to the fingerprint of the very
file it serves: during an upgrade, a proxy that still holds the old file must not have it cached under the new URL.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

FINGERPRINT_LENGTH = 16
# Folder of the Brotli twins, below the static root: no URL leads there, because its name begins with a dot.
BROTLI = ".br"
# What is not compressed already, and long enough to gain.
_COMPRESSIBLE = {".atom", ".bmp", ".css", ".csv", ".eot", ".geojson", ".htc", ".htm", ".html", ".ico", ".ics", ".js"}
_COMPRESSIBLE |= {".json", ".jsonld", ".m3u8", ".map", ".md", ".mjs", ".otf", ".rss", ".svg", ".ttf", ".txt", ".vtt"}
_COMPRESSIBLE |= {".wasm", ".webmanifest", ".xhtml", ".xml", ".xsl", ".xslt"}
_WORTHWHILE = 512
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+-]*", re.ASCII)


def fingerprint(file: Path) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:FINGERPRINT_LENGTH]


def fingerprints(root: Path) -> Iterator[tuple[str, str]]:
    """Yield each file's path below ``root`` and its fingerprint, sorted.

    Files with names outside ``A-Z a-z 0-9 . _ / @ + -`` are left out: they are served, but never as immutable.
    """
    for file in _files(root):
        name = file.relative_to(root).as_posix()
        if _PLAIN_NAME.fullmatch(name):
            yield name, fingerprint(file)


def precompress(root: Path) -> int:
    """Write compressed twins of the files below ``root`` that gain from it; return how many files have one.

    ``name.gz`` lies beside the file, and where the program ``brotli`` is installed, ``.br/name`` below ``root``: Nginx
    tells a file's type by its name. A twin has the file's own modification time, as ``gzip_static`` asks for.
    """
    written = 0
    for file in _files(root):
        content = file.read_bytes()
        if file.suffix.lower() not in _COMPRESSIBLE or len(content) < _WORTHWHILE:
            continue
        packed = gzip.compress(content, 9, mtime=0)
        if len(packed) < len(content) * 0.95:
            _write_twin(file, file.with_name(file.name + ".gz"), packed)
            if shutil.which("brotli"):
                packed = subprocess.run(
                    ["brotli", "--best", "--stdout", file], check=True, stdout=subprocess.PIPE
                ).stdout
                _write_twin(file, root / BROTLI / file.relative_to(root), packed)
            written += 1
    return written


def share(root: Path, url: str, shelf: Path, *, only: bool = False) -> int:
    """Put the files below ``root`` where another version's Nginx finds them; return how many.

    ``shelf/<fingerprint>/<url>/<name>`` is for URLs with ``?v=``, ``shelf/any/<url>/<name>`` for names with a hash in
    them. ``only``: what other versions have put there, and this one has not, goes.
    """
    mine = [(name, digest) for name, digest in fingerprints(root)] if root.is_dir() else []
    kept = set()
    for name, digest in mine:
        for folder in (digest, "any"):
            target = shelf / folder / url.strip("/") / name
            kept.add(target)
            if folder == digest and target.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(f".{target.name}.new")
            new.unlink(missing_ok=True)
            if folder == digest:
                shutil.copyfile(root / name, new)
            else:
                new.hardlink_to(shelf / digest / url.strip("/") / name)
            new.replace(target)
    if only:
        _remove_others(shelf, kept)
    return len(mine)


def _remove_others(shelf: Path, kept: Iterable[Path]) -> None:
    wanted = set(kept)
    for path in sorted(shelf.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):  # it is not empty
                path.rmdir()
        elif path not in wanted:
            path.unlink()


def _write_twin(file: Path, twin: Path, packed: bytes) -> None:
    twin.parent.mkdir(parents=True, exist_ok=True)
    twin.write_bytes(packed)
    status = file.stat()
    os.utime(twin, ns=(status.st_atime_ns, status.st_mtime_ns))


def _files(root: Path) -> list[Path]:
    """Return the files below ``root`` that Nginx would serve by name: no compressed twins, no dotfiles."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and not (path.suffix == ".gz" and path.with_suffix("").is_file())
    )
