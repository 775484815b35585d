import gzip
import hashlib
import subprocess
from pathlib import Path

from greendock.proxy.configuration import read
from greendock.proxy.render import render
from greendock.proxy.static import fingerprint, fingerprints, precompress, share


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


def test_what_two_versions_share_is_there_by_fingerprint_and_by_name(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    versions = {}
    for version in ("one", "two"):
        root = tmp_path / version
        (root / "css").mkdir(parents=True)
        (root / "css/app.css").write_text(version)
        (root / f"{version}.js").write_text(version)
        versions[version] = fingerprint(root / "css/app.css")
        assert share(root, "/static/", shelf) == 2
    for version, digest in versions.items():
        assert (shelf / digest / "static/css/app.css").read_text() == version
        assert (shelf / "any/static" / f"{version}.js").read_text() == version
    assert (shelf / "any/static/css/app.css").read_text() == "two"
    # The next rollout begins: only what the running version has stays.
    share(tmp_path / "two", "/static/", shelf, only=True)
    assert sorted(path.name for path in shelf.iterdir()) == sorted(
        {versions["two"], "any", fingerprint(tmp_path / "two/two.js")}
    )
    assert not (shelf / "any/static/one.js").exists()
    assert (shelf / "any/static/css/app.css").read_text() == "two"


def test_sharing_from_a_folder_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    assert share(tmp_path / "nowhere", "/static/", tmp_path / "shelf", only=True) == 0
