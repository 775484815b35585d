"""A package from a private index, by the book: the password is a build secret, and nothing of it stays in the image."""

from __future__ import annotations

import base64
import io
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.container.support import LONG, Stack, docker
from tests.support import ROOT

LOGIN, PASSWORD = "deploy", "a-password-that-no-layer-holds"
WHEEL = "shop_prices-1.0-py3-none-any.whl"
INDEX = """
[[tool.uv.index]]
name = "private"
url = "http://127.0.0.1:{port}/simple"
explicit = true

[tool.uv.sources]
shop-prices = {{ index = "private" }}
"""


def wheel() -> bytes:
    """Return a package that has one function."""
    metadata = "Metadata-Version: 2.1\nName: shop-prices\nVersion: 1.0\n"
    files = {
        "shop_prices.py": "def price() -> int:\n    return 42\n",
        "shop_prices-1.0.dist-info/METADATA": metadata,
        "shop_prices-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in files) + "shop_prices-1.0.dist-info/RECORD,,\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in {**files, "shop_prices-1.0.dist-info/RECORD": record}.items():
            archive.writestr(name, text)
    return content.getvalue()


PAGES = {
    "/simple/shop-prices/": ("text/html", f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode()),
    f"/files/{WHEEL}": ("application/octet-stream", wheel()),
}


class Index(BaseHTTPRequestHandler):
    """The simple repository API for one package, for those who know the password: https://peps.python.org/pep-0503/"""

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode()
        status, (kind, content) = 401, ("text/plain", b"")
        if self.headers["Authorization"] == expected:
            status, (kind, content) = 200 if self.path in PAGES else 404, PAGES.get(self.path, (kind, b""))
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="packages"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def index() -> Iterator[int]:
    """Serve the index on the loopback address; the block gets the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def test_a_package_comes_from_a_private_index_and_its_password_is_in_no_layer(stack: Stack) -> None:
    project, secret = stack.folder / "pyproject.toml", stack.folder / "secrets" / "netrc"
    secret.parent.mkdir()
    secret.write_text(f"machine 127.0.0.1 login {LOGIN} password {PASSWORD}\n")
    (stack.folder / ".env").write_text("BUILD_NETRC=./secrets/netrc\n")
    # The index is this machine's; a real one has a name.
    (stack.folder / "docker-compose.override.yml").write_text("services: {app: {build: {network: host}}}\n")
    with index() as port:
        text = project.read_text().replace('"flask>=3.1",', '"flask>=3.1",\n    "shop-prices",')
        text = text.replace("\n[tool.uv.sources]\n", INDEX.format(port=port))
        project.write_text(text)
        stack.environment |= {"NETRC": str(secret)}
        locked = stack.run(str(ROOT / "scripts" / "uv"), "lock")
        assert locked.returncode == 0, locked.stderr
        del stack.environment["NETRC"]
        stack.compose("build", "app")
    image = f"greendock-app:{stack.name}"
    assert (
        docker("run", "--rm", image, "python", "-c", "import shop_prices; print(shop_prices.price())").stdout == "42\n"
    )
    assert PASSWORD not in docker("history", "--no-trunc", image).stdout
    layers = f"set -o pipefail; docker save {image} | grep --text --count {PASSWORD}"
    held = subprocess.run(["bash", "-c", layers], capture_output=True, text=True, timeout=LONG, check=False)
    assert (held.stdout, held.stderr) == ("0\n", "")
