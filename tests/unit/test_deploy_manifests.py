"""The files of ``deploy/`` fit KubeRay's v1 resources, this package, and each other.

No Kubernetes and no container engine takes part. The schema below is a part of the custom resource
definitions ``rayclusters.ray.io`` and ``rayjobs.ray.io``, version v1, written down by hand: every
field of the two specs that may stand there, and of the pod templates those that are used here. It
is closed, so a misspelt field fails, as it would not in Kubernetes, which drops it in silence.
"""

from __future__ import annotations

import copy
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERAY = ROOT / "deploy" / "kuberay"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

Schema = dict[str, Any]
Manifest = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
OPEN: Schema = {"type": "object"}
QUANTITY: Schema = {"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$"}


def closed(required: str = "", **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def items(of: Schema, least: int = 1) -> Schema:
    return {"type": "array", "items": of, "minItems": least}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


RESOURCES = {"type": "object", "additionalProperties": QUANTITY}
CONTAINER = closed(
    "name image resources",
    name=TEXT,
    image=TEXT,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    securityContext=closed(
        allowPrivilegeEscalation=FLAG,
        capabilities=closed(add=items(TEXT), drop=items(TEXT)),
        readOnlyRootFilesystem=FLAG,
    ),
    env=items(closed("name", name=TEXT, value=TEXT, valueFrom=OPEN)),
    ports=items(closed("containerPort", name=TEXT, containerPort=COUNT, protocol=TEXT)),
    resources=closed("requests limits", requests=RESOURCES, limits=RESOURCES),
    volumeMounts=items(closed("name mountPath", name=TEXT, mountPath=TEXT, readOnly=FLAG)),
)
VOLUME = closed(
    "name",
    name=TEXT,
    persistentVolumeClaim=closed("claimName", claimName=TEXT, readOnly=FLAG),
    secret=closed("secretName", secretName=TEXT, defaultMode=COUNT, optional=FLAG),
    configMap=closed("name", name=TEXT, defaultMode=COUNT, optional=FLAG),
    emptyDir=closed(medium=one_of("", "Memory"), sizeLimit=QUANTITY),
)
TEMPLATE = closed(
    "spec",
    metadata=closed(labels=TEXTS, annotations=TEXTS),
    spec=closed(
        "containers",
        automountServiceAccountToken=FLAG,
        serviceAccountName=TEXT,
        terminationGracePeriodSeconds=COUNT,
        securityContext=closed(
            runAsNonRoot=FLAG,
            runAsUser=COUNT,
            runAsGroup=COUNT,
            fsGroup=COUNT,
            seccompProfile=closed("type", type=one_of("RuntimeDefault", "Unconfined")),
        ),
        containers=items(CONTAINER),
        volumes=items(VOLUME),
        nodeSelector=TEXTS,
    ),
)
CLUSTER_SPEC = closed(
    "headGroupSpec",
    suspend=FLAG,
    managedBy=one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
    authOptions=closed("mode", mode=one_of("disabled", "token")),
    autoscalerOptions=OPEN,
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=OPEN,
    rayVersion=TEXT,
    headGroupSpec=closed(
        "rayStartParams template",
        template=TEMPLATE,
        headService=OPEN,
        enableIngress=FLAG,
        rayStartParams=TEXTS,
        serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    ),
    workerGroupSpecs=items(
        closed(
            "groupName minReplicas maxReplicas rayStartParams template",
            suspend=FLAG,
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            idleTimeoutSeconds=COUNT,
            rayStartParams=TEXTS,
            template=TEMPLATE,
            scaleStrategy=OPEN,
            numOfHosts=COUNT,
        )
    ),
)
JOB_SPEC = closed(
    "entrypoint rayClusterSpec",
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER_SPEC,
    submitterPodTemplate=TEMPLATE,
    metadata=TEXTS,
    clusterSelector=TEXTS,
    submitterConfig=closed(backoffLimit=COUNT),
    managedBy=one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
    deletionStrategy=OPEN,
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    entrypointResources=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    ttlSecondsAfterFinished=COUNT,
    shutdownAfterJobFinishes=FLAG,
    suspend=FLAG,
)


def resource(kind: str, spec: Schema) -> Schema:
    named = {"type": "object", "required": ["name"], "properties": {"name": TEXT}}
    return closed(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=named,
        spec=spec,
    )


SCHEMAS = {
    "RayCluster": resource("RayCluster", CLUSTER_SPEC),
    "RayJob": resource("RayJob", JOB_SPEC),
}


def manifests(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((KUBERAY / name).read_text(encoding="utf-8")))


def ray_resources() -> dict[str, Manifest]:
    found = [one for path in sorted(KUBERAY.glob("*.yaml")) for one in manifests(path.name)]
    return {one["kind"]: one for one in found if one["kind"] in SCHEMAS}


def cluster_of(manifest: Manifest) -> Manifest:
    spec: Manifest = manifest["spec"]
    return spec["rayClusterSpec"] if manifest["kind"] == "RayJob" else spec


def pods_of(manifest: Manifest) -> Iterator[Manifest]:
    spec = cluster_of(manifest)
    yield spec["headGroupSpec"]["template"]
    for group in spec["workerGroupSpecs"]:
        yield group["template"]


KINDS = pytest.mark.parametrize("kind", sorted(SCHEMAS))


# -- the schema ------------------------------------------------------------------------------------


def test_there_is_a_cluster_and_a_job() -> None:
    assert sorted(ray_resources()) == ["RayCluster", "RayJob"]


@KINDS
def test_a_manifest_fits_the_resource_definition(kind: str) -> None:
    jsonschema.validate(ray_resources()[kind], SCHEMAS[kind])


def _number_for_text(spec: Manifest) -> None:
    spec["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def _misspelt(spec: Manifest) -> None:
    spec["workerGroupSpec"] = spec.pop("workerGroupSpecs")


def _group_without_name(spec: Manifest) -> None:
    del spec["workerGroupSpecs"][0]["groupName"]


def _other_authentication(spec: Manifest) -> None:
    spec["authOptions"]["mode"] = "password"


@KINDS
@pytest.mark.parametrize(
    "spoil", [_number_for_text, _misspelt, _group_without_name, _other_authentication]
)
def test_a_spoilt_manifest_is_refused(kind: str, spoil: Callable[[Manifest], None]) -> None:
    manifest = copy.deepcopy(ray_resources()[kind])
    spoil(cluster_of(manifest))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMAS[kind])


# -- what the schema cannot say --------------------------------------------------------------------


@KINDS
def test_rays_version_is_the_one_the_package_asks_for(kind: str) -> None:
    (pinned,) = (
        entry.partition("==")[2]
        for entry in PROJECT["project"]["dependencies"]
        if entry.startswith("ray[")
    )
    assert cluster_of(ray_resources()[kind])["rayVersion"] == pinned


@KINDS
def test_nobody_gets_in_without_the_token_nor_from_outside(kind: str) -> None:
    spec = cluster_of(ray_resources()[kind])
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_heads_and_workers_run_one_image_of_this_version() -> None:
    images = {
        container["image"]
        for manifest in ray_resources().values()
        for pod in pods_of(manifest)
        for container in pod["spec"]["containers"]
    }
    assert images == {f"gridpact:{PROJECT['project']['version']}"}


@KINDS
def test_containers_bear_the_names_that_the_operator_looks_for(kind: str) -> None:
    names = [pod["spec"]["containers"][0]["name"] for pod in pods_of(ray_resources()[kind])]
    assert names == ["ray-head", "ray-worker"]


@KINDS
def test_a_pod_gets_what_it_asks_for_and_whole_cores(kind: str) -> None:
    for pod in pods_of(ray_resources()[kind]):
        for container in pod["spec"]["containers"]:
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]
            assert re.fullmatch(r"\d+", str(resources["limits"]["cpu"]))


@KINDS
def test_no_pod_runs_as_root_or_may_become_it(kind: str) -> None:
    for pod in pods_of(ray_resources()[kind]):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]


@KINDS
def test_every_mount_has_its_volume(kind: str) -> None:
    for pod in pods_of(ray_resources()[kind]):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        mounts = {
            mount["name"]
            for container in pod["spec"]["containers"]
            for mount in container["volumeMounts"]
        }
        assert mounts == volumes


@KINDS
def test_the_head_alone_sees_the_keys_and_they_come_as_a_file(kind: str) -> None:
    head, *workers = pods_of(ray_resources()[kind])
    assert [v for v in head["spec"]["volumes"] if "secret" in v]
    for pod in workers:
        assert not [v for v in pod["spec"]["volumes"] if "secret" in v]
    for pod in (head, *workers):
        # A worker of Ray inherits its pod's environment, so no key may stand there.
        assert not [c for c in pod["spec"]["containers"] if "env" in c or "envFrom" in c]


@KINDS
def test_a_pod_gets_longer_to_end_than_the_stop_protocol_takes(kind: str) -> None:
    for pod in pods_of(ray_resources()[kind]):
        assert pod["spec"]["terminationGracePeriodSeconds"] > 10


def test_the_spool_of_the_live_cluster_lies_on_a_claim_of_one_pod() -> None:
    claim, cluster = manifests("raycluster.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    volumes = cluster["spec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert {"claimName": claim["metadata"]["name"]} in [
        volume.get("persistentVolumeClaim") for volume in volumes
    ]


def test_the_policy_covers_every_pod() -> None:
    (policy,) = manifests("network-policy.yaml")
    wanted = policy["spec"]["podSelector"]["matchLabels"].items()
    for manifest in ray_resources().values():
        for pod in pods_of(manifest):
            assert wanted <= pod["metadata"]["labels"].items()


def test_the_job_runs_a_command_that_exists_on_the_cluster_it_is_in() -> None:
    from run_cluster import app

    entrypoint = ray_resources()["RayJob"]["spec"]["entrypoint"]
    program, name, *arguments = shlex.split(entrypoint.partition("&& ")[2])
    assert program in PROJECT["project"]["scripts"]
    command: Any = typer.main.get_command(app)
    replay = command.commands[name]
    options = {text for parameter in replay.params for text in parameter.opts}
    assert {word for word in arguments if word.startswith("--")} <= options
    assert arguments[arguments.index("--address") + 1] == "$RAY_ADDRESS"


# -- the image -------------------------------------------------------------------------------------


def test_the_image_has_a_python_the_package_takes_and_ends_as_an_ordinary_user() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.11-slim"] * 2
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "1000:1000"


def test_the_image_is_made_of_every_package_and_of_nothing_else() -> None:
    copied = set(re.findall(r"^COPY (\S+) \./\1$", DOCKERFILE, re.MULTILINE))
    packages = {
        name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    assert copied == packages
    shown = {
        line[1:]
        for line in (ROOT / "deploy" / "Dockerfile.dockerignore")
        .read_text(encoding="utf-8")
        .splitlines()
        if line.startswith("!")
    }
    assert shown == packages | {"pyproject.toml", "README.md", "run_cluster.py"}


def test_no_secret_is_baked_into_the_image() -> None:
    assert not re.search(
        r"^(ARG|COPY|ADD) .*(\.env|key|secret|token)", DOCKERFILE, re.MULTILINE | re.IGNORECASE
    )
    (environment,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    names = re.findall(r"(\w+)=", environment)
    assert names
    assert not [name for name in names if re.search("KEY|SECRET|PASSWORD|TOKEN|_URL", name)]
