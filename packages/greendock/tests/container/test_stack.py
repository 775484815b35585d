"""The whole stack by `docker compose up --build --wait`, as the README says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.container.support import Stack, docker, inspect, readme_commands
from tests.support import ROOT, free_port, wait_for

ADVERSARY = Path(__file__).with_name("apps") / "adversary.py"


def test_a_port_that_is_changed_is_changed_for_both_tiers(stack: Stack) -> None:
    (stack.folder / ".env").write_text("PORT=9000\nNGINX_HTTP_PORT=9090\n")
    services = json.loads(stack.compose("config", "--format", "json").stdout)["services"]
    assert services["app"]["environment"]["PORT"] == "9000"
    told = {name: service.get("environment", {}).get("NGINX_UPSTREAM") for name, service in services.items()}
    assert told == {"app": "app:9000", "nginx": "app:9000", "release": "app:9000", "port": None}
    assert services["nginx"]["environment"]["NGINX_HTTP_PORT"] == "9090"
    assert services["port"]["ports"][0]["target"] == 9090


def test_one_command_ends_with_two_healthy_containers_and_an_answered_request(stack: Stack) -> None:
    shutil.copy(stack.folder / ".env.example", stack.folder / ".env")
    _, start, commands = readme_commands()
    stack.shell(start)
    for line in commands.splitlines():
        assert stack.shell(line).strip(), line
    page = stack.get("/", Accept="text/html")
    assert page.status_code == 200
    assert "It works." in page.text
    status = stack.get("/status.json").json()
    assert status["container"] == inspect(stack.container("app"))["Config"]["Hostname"]
    assert status["ready_for_seconds"] >= 0
    style = re.search(r'href="(/static/style\.css[^"]*)"', page.text)
    assert style is not None
    file = stack.get(style[1])
    assert file.headers["content-type"].startswith("text/css")
    assert "immutable" in file.headers["cache-control"], "the sample's fingerprint is the one Nginx knows"
    assert stack.get("/livez").text == "ok\n"

    # The same request id in the answer, in the application and in the proxy's log.
    answer = stack.get("/status.json", **{"X-Request-ID": "test-request-0001"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "test-request-0001"
    wait_for(lambda: "test-request-0001" in stack.logs(), "the id in the proxy's log")

    # A second `up` changes nothing.
    before = stack.containers("app") + stack.containers("nginx")
    stack.up()
    assert stack.containers("app") + stack.containers("nginx") == before

    for service, user in (("app", "10001:10001"), ("nginx", "101:101"), ("port", "101:101")):
        facts = inspect(stack.container(service))
        assert facts["Config"]["User"] == user
        assert facts["HostConfig"]["ReadonlyRootfs"] is True
        assert facts["HostConfig"]["CapDrop"] == ["ALL"]
        assert facts["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]
        adversary = ("docker", "exec", "--interactive", stack.container(service), "python3", "-")
        worked = subprocess.run(adversary, stdin=ADVERSARY.open(), capture_output=True, text=True, check=False)
        assert (worked.returncode, worked.stdout) == (0, ""), f"{service}: {worked.stdout}{worked.stderr}"
        for folder, options in (facts["HostConfig"].get("Tmpfs") or {}).items():
            asked = dict(option.split("=") for option in options.split(","))
            is_so = docker("exec", stack.container(service), "stat", "--format", "%a %u %g", folder).stdout
            assert is_so.split() == [asked["mode"].lstrip("0"), asked.get("uid", "0"), asked.get("gid", "0")], folder
    published = facts["HostConfig"]["PortBindings"]
    assert published.keys() == {"8080/tcp", "8443/tcp"}
    assert published["8443/tcp"][0]["HostIp"] == "127.0.0.1", "HTTPS is published nowhere unless asked for"
    for service in ("app", "nginx"):
        assert not inspect(stack.container(service))["HostConfig"]["PortBindings"]

    # A forged address is not believed.
    forged = stack.get("/status.json", **{"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}).json()
    assert "6.6.6.6" not in forged["client"]
    assert forged["scheme"] == "http"

    # A container that is restarted, with all that it left behind, becomes healthy again.
    docker("restart", "--time", "5", stack.container("app"))
    stack.wait_health("app")
    wait_for(lambda: stack.get().status_code == 200, "answered after the restart")

    # What holds the port has started again, with other sockets: Nginx takes these.
    docker("restart", "--time", "1", stack.container("port"))
    wait_for(lambda: answers(stack), "answered through the new sockets", 60)

    stack.compose("down", "--timeout", "5")
    left = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={stack.name}").stdout
    assert left == ""
    assert stack.name not in docker("network", "ls").stdout


def answers(stack: Stack) -> bool:
    """Whether the published port is answered."""
    try:
        return stack.get().status_code == 200
    except httpx.TransportError:
        return False


def test_an_application_of_another_framework_takes_the_samples_place(stack: Stack) -> None:
    shutil.rmtree(stack.folder / "app")
    shutil.copytree(stack.folder / "examples" / "fastapi" / "app", stack.folder / "app")
    project = stack.folder / "pyproject.toml"
    text = project.read_text().replace('"flask>=3.1"', '"fastapi>=0.116"')
    project.write_text(text.replace('"greendock[json-logs,metrics]"', '"greendock[asgi,json-logs,metrics]"'))
    subprocess.run([ROOT / "scripts" / "uv", "lock", "--quiet"], cwd=stack.folder, env=stack.environment, check=True)
    (stack.folder / ".env").write_text("GUNICORN_WORKER_CLASS=asgi\n")
    stack.up()
    assert stack.get().json() == {"framework": "fastapi"}


def test_https_is_one_variable_and_a_published_port(stack: Stack) -> None:
    port = free_port()
    stack.environment |= {"NGINX_TLS": "self-signed", "NGINX_PUBLISHED_TLS_PORT": f"127.0.0.1:{port}"}
    stack.environment |= {"NGINX_TLS_PUBLIC_PORT": str(port)}
    stack.up()
    with httpx.Client(verify=False, follow_redirects=True) as client:  # noqa: S501 - a development certificate
        answer = client.get(f"http://127.0.0.1:{stack.port}/status.json")
    assert str(answer.url) == f"https://127.0.0.1:{port}/status.json"
    assert answer.json()["scheme"] == "https"


def test_a_value_that_compose_would_change_is_refused_before_anything_starts(stack: Stack) -> None:
    (stack.folder / ".env").write_text("DB_PASSWORD=s3$cret\nWEB_CONCURRENCY=1\n")
    refused = stack.run(sys.executable, "-m", "greendock", "up")
    assert refused.returncode != 0
    assert "DB_PASSWORD=(hidden) (from .env line 1): accepted: ${NAME}" in refused.stderr
    assert not stack.containers("app")
    (stack.folder / ".env").write_text("DB_PASSWORD='s3$cret'\nWEB_CONCURRENCY=1\n")
    started = stack.run(sys.executable, "-m", "greendock", "up")
    assert started.returncode == 0, started.stderr
    assert "DB_PASSWORD=s3$cret\n" in docker("exec", stack.container("app"), "env").stdout


def test_an_edit_of_code_template_or_style_shows_in_development_without_a_build(stack: Stack) -> None:
    stack.environment |= {"COMPOSE_FILE": "docker-compose.yml:compose.dev.yml"}
    stack.up()
    images = [inspect(stack.container(service))["Image"] for service in ("app", "nginx")]
    for name, old, new in (
        ("main.py", '"greendock sample"', '"an edit of code"'),
        ("templates/landing.html", "It works.", "An edit of a template."),
    ):
        file = stack.folder / "app" / name
        file.write_text(file.read_text().replace(old, new))
        wait_for(lambda new=new: new.strip('"') in stack.get("/status.json").text + stack.get("/").text, new)  # type: ignore[misc]
    style = stack.folder / "app/static/style.css"
    style.write_text("/* an edit of a style */")
    assert stack.get("/static/style.css").text == "/* an edit of a style */"
    assert [inspect(stack.container(service))["Image"] for service in ("app", "nginx")] == images


def test_settings_in_dotenv_reach_their_container_and_secrets_do_not_reach_the_proxy(stack: Stack) -> None:
    (stack.folder / ".env").write_text(
        'NGINX_CLIENT_MAX_BODY_SIZE=3m\nGUNICORN_TIMEOUT=41\nDATABASE_PASSWORD="hunter2"\nWEB_CONCURRENCY=1\n'
    )
    stack.environment["MAX_WORKERS"] = "9"  # from the shell
    stack.up()
    app = docker("exec", stack.container("app"), "env").stdout
    proxy = docker("exec", stack.container("nginx"), "env").stdout
    assert "GUNICORN_TIMEOUT=41" in app
    assert "MAX_WORKERS=9" in app
    assert "hunter2" in app
    assert "hunter2" not in proxy
    assert "NGINX_CLIENT_MAX_BODY_SIZE=3m" in proxy
    shown = json.loads(docker("exec", stack.container("app"), "greendock", "config", "--format", "json").stdout)
    assert shown["timeout"] == {"value": "41", "source": "process environment"}
    assert "hunter2" not in stack.logs()
    assert "hunter2" not in docker("inspect", stack.container("nginx")).stdout
    images = [inspect(stack.container(service))["Image"] for service in ("app", "nginx")]
    assert "hunter2" not in docker("history", "--no-trunc", images[0]).stdout
    pipe = f"docker save {' '.join(images)} | grep --text --count hunter2"
    saved = subprocess.run(["bash", "-o", "pipefail", "-c", pipe], capture_output=True, check=False)
    assert saved.stdout == b"0\n", "no layer of either image has it"


@pytest.mark.parametrize(
    ("file", "content", "last"),
    [
        ("app/main.py", "import no_such_module\n", "No module named 'no_such_module'"),
        (".env", "GUNICORN_TIMOUT=3\nWEB_CONCURRENCY=many\n", "did you mean GUNICORN_TIMEOUT?"),
    ],
)
def test_a_broken_application_or_setting_fails_up_and_says_why(
    stack: Stack, file: str, content: str, last: str
) -> None:
    (stack.folder / file).write_text(content)
    done = stack.up(check=False)
    assert done.returncode != 0
    stack.compose("stop", "--timeout", "1")
    assert last in stack.logs()


def test_the_template_checked_out_has_no_environment_of_its_own() -> None:
    tracked = (ROOT / ".dockerignore").read_text()
    assert tracked.splitlines()[1] == "*", "only what is named gets into an image"
    assert ".env" not in tracked.split()
