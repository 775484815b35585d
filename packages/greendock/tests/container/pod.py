"""The pods of ``deploy/kubernetes``, on the engine: each container exactly as its manifest says.

What a manifest asks for and this module does not know is an error, so that nothing in it is passed over. The kubelet's
part is played here: environment, volumes with their owner and mode, probes and the end. Services are DNS names.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.container.support import docker, inspect, logs
from tests.support import ROOT

MANIFESTS = ROOT / "deploy" / "kubernetes"
NAMESPACE = "greendock"
# Understood, and without a counterpart on one engine (or the engine's own default, as RuntimeDefault is).
_NOT_HERE = {"automountServiceAccountToken", "enableServiceLinks", "seccompProfile", "topologySpreadConstraints"}


class Manifests:
    """What ``kubectl apply --kustomize deploy/kubernetes`` would hand to the cluster."""

    def __init__(self, folder: Path = MANIFESTS) -> None:
        self.images: set[str] = set()
        self.resources: list[dict[str, Any]] = []
        self.settings: dict[str, dict[str, str]] = {}
        self._read(folder)

    def _read(self, folder: Path) -> None:
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        self.images |= {image["name"] for image in kustomization.get("images", ())}
        for name in kustomization["resources"]:
            if (folder / name).is_dir():
                self._read(folder / name)
            else:
                self.resources += yaml.safe_load_all((folder / name).read_text())
        for generator in kustomization.get("configMapGenerator", ()):
            self.settings[generator["name"]] = {
                name: value
                for file in generator["envs"]
                for name, value in re.findall(r"^([A-Z_]+)=(.*)$", (folder / file).read_text(), re.MULTILINE)
            }

    def of_kind(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield the resources of one kind."""
        return (resource for resource in self.resources if resource["kind"] == kind)

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """Return one resource."""
        (found,) = (resource for resource in self.of_kind(kind) if resource["metadata"]["name"] == name)
        return found

    def services_of(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the Services that choose pods with these labels."""
        services = self.of_kind("Service")
        return [service for service in services if service["spec"]["selector"].items() <= labels.items()]


class Pod:
    """One pod of a Deployment or a Job, with its one container; ``image`` stands for the manifest's image name."""

    def __init__(self, manifests: Manifests, owner: str, image: str, network: str, kind: str = "Deployment") -> None:
        self.manifests, self.image, self.network = manifests, image, network
        template = manifests.named(kind, owner)["spec"]["template"]
        self.labels: dict[str, str] = template["metadata"]["labels"]
        self.spec: dict[str, Any] = _known(
            template["spec"],
            {"containers", "restartPolicy", "securityContext", "terminationGracePeriodSeconds", "volumes"} | _NOT_HERE,
        )
        (container,) = self.spec["containers"]
        self.container: dict[str, Any] = _known(
            container,
            {
                "name",
                "image",
                "args",
                "ports",
                "envFrom",
                "env",
                "startupProbe",
                "readinessProbe",
                "livenessProbe",
                "lifecycle",
            }
            | {"resources", "securityContext", "volumeMounts"},
        )
        assert self.container["image"] in manifests.images, "the kustomization knows the image"
        self.name = f"{network}-{owner}"
        self.volumes = {volume["name"]: f"{self.name}-{volume['name']}" for volume in self.spec["volumes"]}

    @property
    def account(self) -> str:
        """The account the manifest asks for, as ``uid:gid``."""
        context = self.spec["securityContext"]
        return f"{context['runAsUser']}:{context['runAsGroup']}"

    def ports(self) -> dict[str, int]:
        """Return the container's ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def start(self, secrets: Mapping[str, str] | None = None) -> None:
        """Make the volumes and start the container; ``secrets`` is what the Secret that is mounted holds."""
        for volume in self.spec["volumes"]:
            self._make_volume(volume, secrets or {})
        place = ("--detach", "--name", self.name, "--network", self.network)
        docker("run", *place, *self._options(), self.image, *self.container.get("args", ()))

    def _options(self) -> Iterator[str]:
        context = _known(
            self.spec["securityContext"], {"runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup"} | _NOT_HERE
        )
        assert not context["runAsNonRoot"] or context["runAsUser"] != 0
        yield from ("--user", self.account, "--group-add", str(context["fsGroup"]))
        own = _known(
            self.container["securityContext"], {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"}
        )
        for capability in _known(own["capabilities"], {"drop"})["drop"]:
            yield from ("--cap-drop", capability)
        if not own["allowPrivilegeEscalation"]:
            yield from ("--security-opt", "no-new-privileges")
        if own["readOnlyRootFilesystem"]:
            yield "--read-only"
        limits = _known(_known(self.container["resources"], {"requests", "limits"})["limits"], {"memory"})
        yield from ("--memory", limits["memory"].replace("Mi", "m"))
        for name, value in self.environment().items():
            yield from ("--env", f"{name}={value}")
        for mount in self.container["volumeMounts"]:
            _known(mount, {"name", "mountPath", "readOnly"})
            read_only = ",readonly" if mount.get("readOnly") else ""
            # Kubernetes copies nothing of the image into a volume.
            yield from ("--mount", f"type=volume,src={self.volumes[mount['name']]},dst={mount['mountPath']},volume-nocopy{read_only}")  # noqa: E501  # fmt: skip
        for service in self.manifests.services_of(self.labels):
            yield from ("--network-alias", f"{service['metadata']['name']}.{NAMESPACE}.svc.cluster.local")

    def finish(self) -> int:
        """Wait for the container's own end; return its exit code."""
        assert self.spec["restartPolicy"] == "Never"
        return int(docker("wait", self.name).stdout)

    def environment(self) -> dict[str, str]:
        """Return the container's variables: those of its ConfigMaps, then its own, with ``$(NAME)`` replaced."""
        found: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            found |= self.manifests.settings[_known(source, {"configMapRef"})["configMapRef"]["name"]]
        for variable in self.container.get("env", []):
            if "valueFrom" in variable:
                assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}, variable
                found[variable["name"]] = NAMESPACE
            else:
                found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], variable["value"])
        return found

    def _make_volume(self, volume: dict[str, Any], secrets: Mapping[str, str]) -> None:
        """An emptyDir is open to all and belongs to fsGroup; a Secret's files have the mode asked for."""
        group = self.spec["securityContext"]["fsGroup"]
        commands = ["chmod 2777 /volume"]
        if "secret" in volume:
            mode = _known(volume["secret"], {"secretName", "optional", "defaultMode"})["defaultMode"]
            for name, value in secrets.items():
                commands += [f"printf %s '{value}' >/volume/{name}", f"chmod {mode:o} /volume/{name}"]
        else:
            _known(volume, {"name", "emptyDir"})
        made = "; ".join([*commands, f"chgrp -R {group} /volume"])
        mount = f"type=volume,src={self.volumes[volume['name']]},dst=/volume"
        docker("run", "--rm", "--user", "0:0", "--entrypoint", "sh", "--mount", mount, self.image, "-ec", made)

    def address(self) -> str:
        """Return the pod's address on the network."""
        return str(inspect(self.name)["NetworkSettings"]["Networks"][self.network]["IPAddress"])

    def wait(self) -> None:
        """Ask the startup probe as often as it says; then each other probe has to pass too."""
        startup = self.container["startupProbe"]
        end = time.monotonic() + startup["periodSeconds"] * startup["failureThreshold"]
        while problem := self.probe(startup):
            assert time.monotonic() < end, f"{self.name} is not started: {problem}\n{logs(self.name)}"
            assert inspect(self.name)["State"]["Running"], f"{self.name} has ended: {problem}\n{logs(self.name)}"
            time.sleep(startup["periodSeconds"])
        for name in ("readinessProbe", "livenessProbe"):
            assert not self.probe(self.container[name]), f"{self.name}: {name}"

    def probe(self, probe: dict[str, Any]) -> str:
        """Do what the kubelet does; return what is wrong, or nothing."""
        _known(probe, {"exec", "httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold"})
        if "exec" in probe:
            done = self.execute(*probe["exec"]["command"])
            return "" if done.returncode == 0 else f"{done.returncode}: {done.stdout}{done.stderr}"
        port = self.ports()[_known(probe["httpGet"], {"path", "port"})["port"]]
        try:
            urllib.request.urlopen(
                f"http://{self.address()}:{port}{probe['httpGet']['path']}", timeout=probe["timeoutSeconds"]
            ).close()
        except OSError as error:
            return str(error)
        return ""

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as a probe or a hook of the manifest is run."""
        return docker("exec", self.name, *command, check=False)

    def end(self) -> dict[str, Any]:
        """End the pod as Kubernetes does, ``preStop`` first; return the container's last state.

        Its exit code is 137 where the grace period was too short.
        """
        before = _known(self.container.get("lifecycle", {}), {"preStop"}).get("preStop")
        start = time.monotonic()
        if before:
            done = self.execute(*_known(before, {"exec"})["exec"]["command"])
            assert done.returncode == 0, f"{self.name}: preStop: {done.stderr}"
        grace = self.spec["terminationGracePeriodSeconds"] - (time.monotonic() - start)
        docker("stop", "--time", str(max(0, int(grace))), self.name)
        return dict(inspect(self.name)["State"])

    def remove(self) -> None:
        """Leave nothing behind."""
        docker("rm", "--force", "--volumes", self.name, check=False)
        docker("volume", "rm", "--force", *self.volumes.values(), check=False)


def image_facts(image: str) -> dict[str, Any]:
    """Return an image's configuration: ``User``, ``ExposedPorts``, ``Volumes``."""
    return dict(json.loads(docker("image", "inspect", image).stdout)[0]["Config"])


def _known(mapping: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Return ``mapping``; fail where it asks for more than ``names``."""
    assert mapping.keys() <= names, f"not held to the image by this test: {sorted(mapping.keys() - names)}"
    return mapping
