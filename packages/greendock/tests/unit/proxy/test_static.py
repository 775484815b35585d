import gzip
import hashlib
import subprocess
from pathlib import Path

from greendock.proxy.configuration import read
from greendock.proxy.render import render
from greendock.proxy.static import fingerprint, fingerprints, precompress


def test_a_fingerprint_is_the_content_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_bytes(b"x")
    (tmp_path / "b.css").write_bytes(b"x")
    assert fingerprint(tmp_path / "a.css") == fingerprint(tmp_path / "b.css") == hashlib.sha256(b"x").hexdigest()[:16]


def test_only_text_that_shrinks_gets_a_compressed_twin_of_the_same_age(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.css").write_text("body{}" * 500)
    (tmp_path / "tiny.css").write_text("body{}")
    (tmp_path / "photo.png").write_bytes(b"\0" * 5000)
    assert precompress(tmp_path) == 1
    twin = tmp_path / "sub/a.css.gz"
    assert gzip.decompress(twin.read_bytes()) == (tmp_path / "sub/a.css").read_bytes()
    assert twin.stat().st_mtime_ns == (tmp_path / "sub/a.css").stat().st_mtime_ns
    brotli = subprocess.run(
        ["brotli", "--decompress", "--stdout", tmp_path / ".br/sub/a.css"], check=True, capture_output=True
    )
    assert brotli.stdout == (tmp_path / "sub/a.css").read_bytes()
    assert precompress(tmp_path) == 1, "a second run compresses the files, not the twins"


def test_a_file_name_cannot_inject_configuration(tmp_path: Path) -> None:
    for name in ('a";}.css', "b c.css", "$host.css", "good.css", ".hidden"):
        (tmp_path / name).write_text("x")
    assert [name for name, _ in fingerprints(tmp_path)] == ["good.css"]
    rendered = render(read({"NGINX_STATIC_ROOT": str(tmp_path)}))
    assert f'"/static/good.css?{fingerprint(tmp_path / "good.css")}" immutable;' in rendered
    assert "$host.css" not in rendered
