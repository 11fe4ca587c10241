"""The Kubernetes manifests, as `kubectl apply -k` builds them, against Kubernetes' schemas and the code."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from ops import child
from ops.health import HealthSettings, watched
from ops.roles import Role
from schemas import TopicName
from streams.settings import StreamsSettings
from tests.ops.deployed import DEPLOY, DOCKERFILES, PROJECT, SETTINGS, health_of, ignored, options_of, role_of
from tests.ops.test_health import ask
from tracer.methods.table import METHODS

Manifest = dict[str, Any]
FOLDER = DEPLOY / "k8s"
VERSION = "1.30"
"""The oldest Kubernetes that is checked for."""
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))
GROUPS = {Role.STREAMS: "streams_group", Role.SINK: "sink_group", Role.TRACER: "tracer_group"}
READ_FIRST = {Role.STREAMS: TopicName.STEP_EVENTS, Role.TRACER: TopicName.FAILED_TRAJECTORIES}


@pytest.fixture(params=["base", "overlays/production", "overlays/gpu"])
def built(request: pytest.FixtureRequest) -> list[Manifest]:
    """Every manifest of a kustomization."""
    return _build(request.param)


@pytest.fixture(params=["overlays/production", "overlays/gpu"])
def deployed(request: pytest.FixtureRequest) -> list[Manifest]:
    """Every manifest of what a cluster runs."""
    return _build(request.param)


@cache
def _build(folder: str) -> list[Manifest]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("NOT TESTED HERE: kubectl, which builds the manifests, is not installed")
    done = subprocess.run([kubectl, "kustomize", FOLDER / folder], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def _of(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    found = [one for one in manifests if one["kind"] in kinds]
    assert found
    return found


def _containers(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield every pod's specification and its one container."""
    for one in _of(manifests, "Deployment", "Job"):
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        yield pod, container


def _workers(manifests: list[Manifest]) -> dict[Role, Manifest]:
    containers = [container for _, container in _containers(manifests)]
    roles = {role_of(container["args"]): container for container in containers}
    return {role: container for role, container in roles.items() if role is not None}


def _environment(container: Manifest, manifests: list[Manifest]) -> dict[str, str]:
    """Return its variables, what is in a secret as something that is valid."""
    shared = {one["metadata"]["name"]: one["data"] for one in _of(manifests, "ConfigMap")}
    environment: dict[str, str] = {}
    for source in container["envFrom"]:
        environment |= shared[source["configMapRef"]["name"]]
    for variable in container.get("env", []):
        environment[variable["name"]] = variable.get("value", "http://user:password@host:8123/agentracer")
    return environment


def _bytes(quantity: str) -> int:
    found = re.fullmatch(r"(\d+)(Mi|Gi)", quantity)
    assert found is not None
    return int(found[1]) << {"Mi": 20, "Gi": 30}[found[2]]


def _partitions(manifests: list[Manifest]) -> int:
    (found,) = (one["args"] for _, one in _containers(manifests) if one["args"][0] == "topics")
    return int(options_of(found)["partitions"])


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_every_file_beside_a_kustomization_is_in_it(path: Path) -> None:
    listed = yaml.safe_load(path.read_text())
    named = {*listed["resources"], *(patch["path"] for patch in listed.get("patches", []))}
    assert {one.name for one in path.parent.glob("*.yaml")} - {path.name} == {one for one in named if "/" not in one}


def test_every_manifest_is_what_kubernetes_allows(built: list[Manifest]) -> None:
    for one in built:
        if not one["apiVersion"].startswith("keda.sh/"):  # not Kubernetes' own; what we use of it is tested below
            for version in (VERSION, kubernetes_validate.latest_version()):
                kubernetes_validate.validate(one, version, strict=True)


def test_every_role_is_deployed_and_both_jobs_are_there(built: list[Manifest]) -> None:
    assert set(_workers(built)) == set(Role)
    assert {tuple(container["args"][:1]) for _, container in _containers(built)} > {("topics",), ("migrate",)}


def test_a_command_is_one_that_the_command_line_has(built: list[Manifest]) -> None:
    for _, container in _containers(built):
        assert options_of(container["args"])


def test_every_variable_is_a_setting_of_what_it_is_given_to(
    built: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    (shared,) = _of(built, "ConfigMap")
    for _, container in _containers(built):
        unread = ignored(container["args"], _environment(container, built), monkeypatch)
        assert unread <= (shared["data"].keys() if role_of(container["args"]) is None else set())


def test_a_pod_has_no_rights_and_the_images_user(built: list[Manifest]) -> None:
    users = {re.search(r"^USER (\d+):(\d+)$", path.read_text(), re.MULTILINE) for path in DOCKERFILES}
    for pod, container in _containers(built):
        assert not pod["automountServiceAccountToken"]
        security = pod["securityContext"]
        assert security["runAsNonRoot"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {(str(security["runAsUser"]), str(security["runAsGroup"]))} == {user.groups() for user in users if user}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
        assert "/tmp" in mounted.values()
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_a_worker_drains_before_it_is_killed(built: list[Manifest]) -> None:
    for pod, container in _containers(built):
        role = role_of(container["args"])
        if role is not None:
            fields = SETTINGS[role].model_fields
            takes = [fields[name].default for name in ("sink_stop_s", "drain_timeout_s") if name in fields]
            assert pod["terminationGracePeriodSeconds"] > max(takes, default=0) + 5


def test_a_worker_is_probed_and_scraped_where_it_answers(
    built: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    for deployment in _of(built, "Deployment"):
        template = deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        settings = health_of(_environment(container, built), monkeypatch)
        assert settings.health_host == "0.0.0.0"  # a probe comes from the node
        (port,) = container["ports"]
        assert port["containerPort"] == settings.health_port
        probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert {probe["port"] for probe in probes.values()} == {port["name"]}
        assert probes["startup"]["path"] == probes["liveness"]["path"] == "/healthz"
        assert probes["readiness"]["path"] == "/readyz"
        asked = template["metadata"]["annotations"]
        assert asked["prometheus.io/scrape"] == "true"
        assert asked["prometheus.io/port"] == str(port["containerPort"])
        paths = [probe["path"] for probe in probes.values()] + [asked["prometheus.io/path"]]
        here = child.free_port()
        with watched(Role.SINK, HealthSettings(health_port=here, health_host="127.0.0.1")):
            assert [ask(here, path)[0] for path in paths] == [200, 200, 503, 200]


def test_no_job_is_probed(built: list[Manifest]) -> None:
    for job in _of(built, "Job"):
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert not [name for name in container if name.endswith("Probe")]
        assert not [one for one in container.get("env", []) if "HEALTH" in one["name"]]


def test_a_selector_finds_the_pods_of_its_own_worker_and_no_others(built: list[Manifest]) -> None:
    deployments = {one["metadata"]["name"]: one["spec"] for one in _of(built, "Deployment")}
    budgets = {one["metadata"]["name"]: one["spec"] for one in _of(built, "PodDisruptionBudget")}
    assert budgets.keys() == deployments.keys()
    labels = {name: spec["template"]["metadata"]["labels"].items() for name, spec in deployments.items()}
    for name, spec in deployments.items():
        assert spec["selector"] == budgets[name]["selector"]
        selected = {other for other in labels if spec["selector"]["matchLabels"].items() <= labels[other]}
        assert selected == {name}


def test_a_streams_worker_that_holds_every_partition_fits_its_memory(
    built: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    container = _workers(built)[Role.STREAMS]
    for name, value in _environment(container, built).items():
        monkeypatch.setenv(name, value)
    limits = StreamsSettings().limits
    held = limits.max_open_bytes + limits.max_marker_bytes + limits.cache_bytes
    assert 2 * held * _partitions(built) < _bytes(container["resources"]["limits"]["memory"])


def test_an_image_is_one_that_we_build_in_the_projects_version() -> None:
    ours = {f"agentracer-{path.stem}:{PROJECT['version']}" for path in DOCKERFILES}
    deployed = [*_containers(_build("overlays/production")), *_containers(_build("overlays/gpu"))]
    assert {container["image"] for _, container in deployed} == ours


def test_only_the_tracer_with_a_model_asks_for_a_gpu_and_its_image_has_the_folder_that_is_mounted() -> None:
    manifests = _build("overlays/gpu")
    asking = [one for _, one in _containers(manifests) if "nvidia.com/gpu" in one["resources"]["limits"]]
    assert asking == [_workers(manifests)[Role.TRACER]]
    (dockerfile,) = (path for path in DOCKERFILES if asking[0]["image"].startswith(f"agentracer-{path.stem}:"))
    (folder,) = (mount["mountPath"] for mount in asking[0]["volumeMounts"] if mount["name"] == "models")
    assert f"HF_HOME={folder}" in dockerfile.read_text()
    assert _environment(asking[0], manifests)["AGENTRACER_TRACER"] in METHODS


def test_every_worker_scales_on_the_lag_of_its_own_group(deployed: list[Manifest]) -> None:
    roles = {f"agentracer-{role}": role for role in Role}
    scalers = {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in _of(deployed, "ScaledObject")}
    assert scalers.keys() == roles.keys() == {one["metadata"]["name"] for one in _of(deployed, "Deployment")}
    for name, spec in scalers.items():
        role = roles[name]
        (trigger,) = spec["triggers"]
        asked = trigger["metadata"]
        assert trigger["type"] == "kafka"
        assert asked["consumerGroup"] == SETTINGS[role].model_fields[GROUPS[role]].default
        assert asked.get("topic") == READ_FIRST.get(role)
        assert asked["bootstrapServersFromEnv"] in _environment(_workers(deployed)[role], deployed)
        assert int(asked["lagThreshold"]) > 0
        assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= _partitions(deployed)


def test_no_secret_is_in_the_manifests(built: list[Manifest]) -> None:
    assert not [one for one in built if one["kind"] == "Secret"]
    for _, container in _containers(built):
        for variable in container.get("env", []):
            if variable["name"].endswith("_URL"):
                assert variable["valueFrom"]["secretKeyRef"] == {"name": "agentracer-store", "key": "clickhouse-url"}
