"""``deploy/kubernetes`` and ``deploy/swarm`` say nothing that the images do not keep."""

from __future__ import annotations

import socket
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pytest
import yaml

from tests.container.pod import MANIFESTS, Manifests, Pod, image_facts
from tests.container.support import docker, logs
from tests.support import DEADLINE, ROOT


@pytest.fixture
def pods(image: str, proxy_image: str) -> Iterator[tuple[Pod, Pod]]:
    """The application's pod and the proxy's, which are not started."""
    manifests, network = Manifests(), f"gd{uuid.uuid4().hex[:10]}"
    docker("network", "create", network)
    both = Pod(manifests, "app", image, network), Pod(manifests, "nginx", proxy_image, network)
    try:
        yield both
    finally:
        for pod in both:
            pod.remove()
        docker("network", "rm", network, check=False)


def test_each_pod_of_the_kubernetes_manifests_becomes_ready_serves_and_ends_in_its_time(pods: tuple[Pod, Pod]) -> None:
    app, nginx = pods
    app.start(secrets={"database_url": "postgresql://db/site"})
    app.wait()
    assert app.execute("cat", "/run/secrets/app/database_url").stdout == "postgresql://db/site"
    # Nginx finds the application by the Service's name.
    nginx.start()
    nginx.wait()
    for pod in pods:
        for port in pod.ports().values():
            socket.create_connection((pod.address(), port), timeout=DEADLINE).close()
    for service in nginx.manifests.services_of(nginx.labels):
        for port in service["spec"]["ports"]:
            with urllib.request.urlopen(f"http://{nginx.address()}:{nginx.ports()[port['targetPort']]}/") as answer:
                assert answer.status == 200
    with ThreadPoolExecutor() as together:
        for state in together.map(Pod.end, pods):
            assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


@pytest.mark.parametrize(("command", "code"), [("echo $DATABASE_URL", 0), ("exit 3", 3)])
def test_the_kubernetes_job_runs_the_release_command_with_the_applications_settings_and_secrets(
    image: str, command: str, code: int
) -> None:
    manifests = Manifests(MANIFESTS / "release")
    assert manifests.named("Job", "release")["spec"]["backoffLimit"] == 0, "a migration that fails is not tried again"
    assert manifests.settings == Manifests().settings
    manifests.settings["app-settings"] |= {
        "GREENDOCK_RELEASE_COMMAND": command,
        "DATABASE_URL_FILE": "/run/secrets/app/database_url",
    }
    network = f"gd{uuid.uuid4().hex[:10]}"
    docker("network", "create", network)
    pod = Pod(manifests, "release", image, network, kind="Job")
    try:
        pod.start(secrets={"database_url": "postgresql://db/site"})
        assert pod.finish() == code, logs(pod.name)
        assert ("postgresql://db/site" in logs(pod.name)) == (code == 0)
    finally:
        pod.remove()
        docker("network", "rm", network, check=False)


def test_accounts_ports_and_volumes_of_the_kubernetes_manifests_are_the_images_own(pods: tuple[Pod, Pod]) -> None:
    for pod in pods:
        facts = image_facts(pod.image)
        assert pod.account == facts["User"]
        exposed = {int(port.partition("/")[0]) for port in facts["ExposedPorts"]}
        assert pod.ports()["http"] in exposed
        mounted = {mount["mountPath"] for mount in pod.container["volumeMounts"]}
        assert set(facts.get("Volumes") or ()) <= mounted
        assert {mount["name"] for mount in pod.container["volumeMounts"]} == set(pod.volumes), "each volume is mounted"
        for service in pod.manifests.services_of(pod.labels):
            assert all(port["targetPort"] in pod.ports() for port in service["spec"]["ports"])
    for policy in pods[0].manifests.of_kind("NetworkPolicy"):
        chosen = policy["spec"]["podSelector"].get("matchLabels", {}).items()
        names = {name for pod in pods if chosen <= pod.labels.items() for name in pod.ports()}
        ports = [port for rule in policy["spec"].get("ingress", ()) for port in rule["ports"]]
        assert {port["port"] for port in ports} <= names


def test_accounts_ports_and_volumes_of_the_swarm_stack_are_the_images_own(image: str, proxy_image: str) -> None:
    stack = yaml.safe_load((ROOT / "deploy/swarm/stack.yml").read_text())
    secrets = yaml.safe_load((ROOT / "deploy/swarm/secrets.yml").read_text())
    for name, facts in {"app": image_facts(image), "nginx": image_facts(proxy_image)}.items():
        service = stack["services"][name]
        assert "user" not in service, "the image's own"
        exposed = {int(port.partition("/")[0]) for port in facts["ExposedPorts"]}
        assert {port["target"] for port in service.get("ports", ())} <= exposed
        mounted = {
            volume["target"] if isinstance(volume, dict) else volume.split(":")[1] for volume in service["volumes"]
        }
        assert set(facts.get("Volumes") or ()) <= mounted
        environment = {**secrets["services"].get(name, {}).get("environment", {}), **service.get("environment", {})}
        for secret in secrets["services"].get(name, {}).get("secrets", ()):
            assert f"{secret['uid']}:{secret['gid']}" == facts["User"]
            assert f"/run/secrets/{secret['target']}" in environment.values()
        ready = environment.get("GREENDOCK_READINESS_FILE")
        assert not ready or str(PurePosixPath(ready).parent) in mounted
