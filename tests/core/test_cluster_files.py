"""The recipes of docs/ that start a Ray cluster fit each other, the lock file and what KubeRay accepts.

On two nodes the Slurm script runs in tests/cluster/test_slurm.py; the manifest was run nowhere.
"""

import subprocess
import tomllib

import pytest
from ruamel.yaml import YAML

from tests.builders import ROOT

CLAIM, CLUSTER = YAML(typ="safe").load_all((ROOT / "docs/raycluster.yaml").read_text())
GROUPS = [CLUSTER["spec"]["headGroupSpec"], *CLUSTER["spec"]["workerGroupSpecs"]]
# From ray-operator/apis/ray/v1/raycluster_types.go of KubeRay: required fields, and others that may be there.
CLUSTER_FIELDS = {"headGroupSpec"}, {"workerGroupSpecs", "rayVersion", "authOptions"}
HEAD_FIELDS = {"rayStartParams", "template"}, {"serviceType", "headService", "enableIngress"}
WORKER_FIELDS = (
    {"groupName", "rayStartParams", "template", "minReplicas", "maxReplicas"},
    {"replicas", "numOfHosts", "scaleStrategy"},
)


def test_the_manifest_has_the_fields_of_kuberay() -> None:
    assert (CLUSTER["apiVersion"], CLUSTER["kind"]) == ("ray.io/v1", "RayCluster")
    for tree, (required, optional) in [
        (CLUSTER["spec"], CLUSTER_FIELDS),
        (GROUPS[0], HEAD_FIELDS),
        *((group, WORKER_FIELDS) for group in GROUPS[1:]),
    ]:
        assert required <= set(tree) <= required | optional
    for group in GROUPS:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert all(group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] for group in GROUPS[1:])


def test_the_manifest_has_the_ray_of_the_lock_file_behind_a_token() -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    (version,) = (package["version"] for package in packages if package["name"] == "ray")
    assert CLUSTER["spec"]["rayVersion"] == version
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("group", GROUPS)
def test_every_pod_has_the_repository_at_one_path(group: dict) -> None:
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    (volume,), (mount,) = pod["volumes"], container["volumeMounts"]
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    assert mount["name"] == volume["name"]
    assert container["workingDir"].startswith(f"{mount['mountPath']}/")
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["PATH"].startswith(f"{container['workingDir']}/.venv/bin:")
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert container["image"] == GROUPS[0]["template"]["spec"]["containers"][0]["image"]
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_the_slurm_script_is_bash() -> None:
    script = ROOT / "docs/ray.sbatch"
    assert subprocess.run(["bash", "-n", script], capture_output=True).stderr == b""
    without = subprocess.run(["bash", script], capture_output=True, text=True)
    assert (without.returncode, without.stderr.count("\n")) == (1, 1)
    assert "sbatch docs/ray.sbatch dvc repro" in without.stderr
