# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes: it renders, fits Kubernetes' schemas, and its parts fit together."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mfs_transport import __version__, node, shared_segment
from mfs_transport.commands import group
from mfs_transport.config import string
from mfs_transport.native import config_check

ROOT = Path(__file__).parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"
RENDERED = ("base", "overlays/gke", "overlays/hosts", "overlays/plain-prometheus", "example")
CUSTOM = {"PodMonitor"}  # kinds that are no part of Kubernetes
VERSIONS = ("1.30", "1.37")
FILES = sorted(KUBERNETES.rglob("*.yaml"))


def renderer() -> list[str] | None:
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def rendered(folder: str) -> list[dict[str, Any]]:
    command = renderer()
    if command is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    done = subprocess.run(
        [*command, str(KUBERNETES / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in documents if one["kind"] == kind]


@pytest.mark.parametrize("folder", RENDERED)
@pytest.mark.parametrize("version", VERSIONS)
def test_render__fits_the_schemas(folder: str, version: str):
    validate = pytest.importorskip("kubernetes_validate").validate
    documents = rendered(folder)
    assert documents
    for document in documents:
        if document["kind"] not in CUSTOM:
            validate(document, version, strict=True)


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("folder", RENDERED)
def test_render__mounts_and_references_resolve(folder: str):
    documents = rendered(folder)
    settings = {one["metadata"]["name"] for one in of_kind(documents, "ConfigMap")}
    for document in of_kind(documents, "DaemonSet") + of_kind(documents, "Deployment"):
        template = document["spec"]["template"]
        wanted = document["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= template["metadata"]["labels"].items()
        volumes = {one["name"] for one in template["spec"]["volumes"]}
        mounted = set()
        for container in containers(template["spec"]):
            mounts = container.get("volumeMounts", [])
            mounted |= {one["name"] for one in mounts}
            assert len({one["mountPath"] for one in mounts}) == len(mounts)
            for one in container.get("envFrom", []):
                assert one["configMapRef"]["name"] in settings
            if container["image"].startswith("mfs-transport"):
                assert container["image"] == f"mfs-transport:{__version__}"
        assert mounted == volumes


def test_render__pods_find_what_the_agent_makes():
    (agent,) = of_kind(rendered("base"), "DaemonSet")
    spec = agent["spec"]["template"]["spec"]
    steps = {one["name"]: one for one in containers(spec)}
    documents = rendered("example")
    (settings,) = of_kind(documents, "ConfigMap")
    values = settings["data"]
    seen_as = steps["install"]["args"][steps["install"]["args"].index("--seen-as") + 1]
    made = node.environment(Path(seen_as), values["MFS_SEGMENT"])
    del made["LD_PRELOAD"]  # vLLM's plug-in loads the shim itself
    assert made.items() <= values.items()
    for name, value in values.items():
        if name.startswith("MFS_"):
            config_check(name, value)  # InputError: it cannot be used
    assert string("MFS_SLO", values) == values["MFS_SLO"]
    assert steps["segment"]["args"][2] == values["MFS_SEGMENT"]
    number = int(steps["segment"]["args"][-1])
    assert shared_segment.group_number(str(number)) == number
    assert steps["exporter"]["securityContext"]["runAsGroup"] == number
    pods = of_kind(documents, "Deployment")
    assert {one["metadata"]["name"] for one in pods} == {"pd-prefill", "pd-decode"}
    for one in pods:
        pod = one["spec"]["template"]["spec"]
        assert pod["securityContext"]["supplementalGroups"] == [number]
        paths = {
            volume["name"]: volume.get("hostPath", {}).get("path") for volume in pod["volumes"]
        }
        assert {"mfs-opt": seen_as, "mfs-segment": "/run/mfs"}.items() <= paths.items()
        (server,) = (c for c in pod["containers"] if c["name"] == "modelserver")
        # what was there stays
        assert server["command"] == ["vllm", "serve"]
        assert "/dev/shm" in {mount["mountPath"] for mount in server["volumeMounts"]}


def test_render__commands_are_those_of_the_command_line():
    for folder in ("base", "example"):
        for document in rendered(folder):
            if document["kind"] not in ("DaemonSet", "Deployment"):
                continue
            for container in containers(document["spec"]["template"]["spec"]):
                if container["image"].startswith("mfs-transport"):
                    arguments = container["args"]
                    verbs = 2 if arguments[0] in ("node", "segment") else 1
                    done = CliRunner().invoke(group, [*arguments[:verbs], "--help"])
                    assert done.exit_code == 0, done.output
                    for option in (a for a in container["args"] if a.startswith("--")):
                        assert option in done.output


def test_render__overlays_differ_as_they_say():
    (gke,) = of_kind(rendered("overlays/gke"), "DaemonSet")
    (base,) = of_kind(rendered("base"), "DaemonSet")
    volumes = [one["spec"]["template"]["spec"].pop("volumes") for one in (gke, base)]
    assert gke == base
    paths = [one["hostPath"]["path"] for one in volumes[0]]
    assert paths == ["/home/kubernetes/bin/mfs", "/run/mfs"]
    plain = rendered("overlays/plain-prometheus")
    assert not of_kind(plain, "PodMonitor")
    (agent,) = of_kind(plain, "DaemonSet")
    assert agent["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == "9654"


def printed(first_line: str) -> str:
    """A block of docs/deploy.md, by its first line."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    return text.partition(f"```yaml\n{first_line}\n")[2].partition("```")[0]


def test_render__overlays_as_the_docs_print_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(KUBERNETES, tmp_path / "deploy" / "kubernetes")
    mine = tmp_path / "my-overlay"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(printed("# my-overlay/kustomization.yaml"))
    pods = tmp_path / "my-pods"
    pods.mkdir()
    shutil.copy(KUBERNETES / "example" / "pods.yaml", pods)
    line = "# in the kustomization of your prefill and decode Deployments"
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    (pods / "kustomization.yaml").write_text(f"{head}resources: [pods.yaml]\n{printed(line)}")
    monkeypatch.setitem(globals(), "KUBERNETES", tmp_path)
    (agent,) = of_kind(rendered("my-overlay"), "DaemonSet")
    images = {one["image"] for one in containers(agent["spec"]["template"]["spec"])}
    assert images == {f"registry.example/mfs-transport:{__version__}"}
    for one in of_kind(rendered("my-pods"), "Deployment"):
        assert one["spec"]["template"]["spec"]["initContainers"][0]["name"] == "mfs-doctor"


# --- without kustomize ---


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(KUBERNETES).as_posix())
def test_file__what_it_names_is_there(path: Path):
    documents = [one for one in yaml.safe_load_all(path.read_text()) if one]
    assert documents
    for document in documents:
        assert document["apiVersion"]
        if document["kind"] not in ("Kustomization", "Component"):
            assert document["metadata"]["name"]
            continue
        named = [*document.get("resources", []), *document.get("components", [])]
        named += [one["path"] for one in document.get("patches", []) if "path" in one]
        for generator in document.get("configMapGenerator", []):
            named += generator.get("envs", [])
        for name in named:
            target = path.parent / name
            assert target.is_file() or (target / "kustomization.yaml").is_file(), name


def test_file__every_one_is_used():
    used = {path.resolve() for path in FILES if path.name == "kustomization.yaml"}
    for path in list(used):
        document = yaml.safe_load(path.read_text())
        named = [*document.get("resources", [])]
        named += [one["path"] for one in document.get("patches", []) if "path" in one]
        used |= {(path.parent / name).resolve() for name in named}
    assert {path.resolve() for path in FILES} <= used


def test_dockerfile__copies_what_is_there():
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "COPY out/wheels" in text
    assert "out/wheels" in (ROOT / "scripts" / "wheels").read_text()


UNITS = ("mfs-segment.service", "my-server.service", "mfs-exporter.service")


def test_units__systemd_takes_them_as_the_docs_print_them(tmp_path: Path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    blocks = re.findall(r"```ini\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.S)
    for name, block in zip(UNITS, blocks, strict=True):
        # their programs are not installed here
        (tmp_path / name).write_text(re.sub(r"(?m)^(ExecStart)=\S+", r"\1=/bin/true", block))
    command = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
