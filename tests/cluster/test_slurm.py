"""docs/ray.sbatch on two nodes, with stand-ins for the commands of Slurm (`make test-ray`).

Slow, for a cluster takes seconds to start.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import ROOT
from tests.cluster.nodes import LIMIT

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="the extra ray is not installed")

# node4 and node5 are 127.0.0.4 and 127.0.0.5 of this machine.
STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": "printf '%s\\n' node4 node5",
    "getent": 'echo "127.0.0.${2#node} STREAM $2"',
}
TASKS = """\
import os, sys, time
import ray
ray.init(log_to_driver=False)
@ray.remote
def where():
    time.sleep(3)
    return ray.util.get_node_ip_address()
while len({node["NodeID"] for node in ray.nodes() if node["Alive"]}) < 2:
    time.sleep(1)
print(*sorted(set(ray.get([where.remote() for _ in range(4)]))), os.environ["RAY_AUTH_MODE"], sys.argv[1])
sys.exit(3)
"""


def test_a_command_runs_on_the_nodes_of_a_job(tmp_path: Path) -> None:
    for name, text in STAND_INS.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    (tmp_path / "tasks.py").write_text(TASKS)
    job = f"test{os.getpid()}"
    variables = {
        "PATH": f"{tmp_path}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_JOB_NODELIST": "node[4-5]",
        "SLURM_JOB_ID": job,
    }
    command = ["bash", ROOT / "docs/ray.sbatch", sys.executable, "tasks.py", "two words"]
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 3, done.stderr  # that of the command
    assert done.stdout.splitlines()[-1] == "127.0.0.4 127.0.0.5 token two words"
    assert not Path(f"/tmp/ray-{job}").exists()
