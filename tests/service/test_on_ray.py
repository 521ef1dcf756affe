"""What the service on Ray asks of a cluster, without one (with one: tests/cluster/test_serve.py)."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from service import on_ray
from service.pool import WORKERS
from service.replica import Replica
from tests.builders import ROOT, refused
from tests.service.clients import client, settings

LISTENING = {"host": "127.0.0.1", "port": 8000}


@pytest.fixture
def wanted(exported_run: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The configuration of a service with a relative folder and a key."""
    monkeypatch.chdir(exported_run)
    for name, value in {"CXR_API_KEY": "secret", "CXR_QUEUE": "7", "OTHER": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CXR_THREADS", raising=False)
    chosen = settings(Path(), CXR_API_KEY="secret", CXR_THREADS="3", CXR_TIMEOUT="40")
    return on_ray.configuration(chosen, "ab" * 32, LISTENING, 2, 5)


def test_replicas_get_the_settings_but_not_the_key(wanted: dict, exported_run: Path) -> None:
    (application,) = wanted["applications"]
    variables = application["runtime_env"]["env_vars"]
    folders = {"CXR_HOME": str(exported_run), "CXR_MODEL": str(exported_run / "models/classifier.onnx")}
    assert variables == {"CXR_QUEUE": "7", "CXR_THREADS": "1", "PYTHONPATH": str(ROOT), **folders} | {
        name: value for name, value in variables.items() if name == "CXR_MIRROR"
    }
    assert "secret" not in json.dumps(wanted)
    assert application["args"] == {"needs_key": True}


def test_what_serve_is_asked_for(wanted: dict) -> None:
    (deployment,) = wanted["applications"][0]["deployments"]
    assert deployment["autoscaling_config"] == {
        "min_replicas": 2,
        "max_replicas": 5,
        "target_ongoing_requests": WORKERS,
    }
    assert deployment["ray_actor_options"] == {"num_cpus": 3}
    assert deployment["graceful_shutdown_timeout_s"] == 80  # an upload and its answer
    assert deployment["user_config"]["model_sha256"] == "ab" * 32
    assert wanted["http_options"] == LISTENING
    assert wanted["logging_config"] == {"enable_access_log": False}  # it has raw paths


def test_serve_accepts_the_configuration(wanted: dict) -> None:
    schema = pytest.importorskip("ray.serve.schema", reason="the extra ray is not installed")
    assert schema.ServeDeploySchema.model_validate(wanted).applications[0].name == on_ray.NAME


@pytest.mark.parametrize("replicas", [["-1"], ["0", "2"], ["3", "2"], ["1", "2", "3"]])
def test_a_wrong_number_of_replicas_is_one_line(replicas: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["on_ray", "--replicas", *replicas])
    with refused("--replicas: a whole number, or two of 1 or more"):
        on_ray.main()


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("", ("RAY_ADDRESS is not set", "`python -m service`")),
        ("127.0.0.1:1", ("RAY_ADDRESS is 127.0.0.1:1", "Ray is not installed", "--extra ray")),
    ],
)
def test_without_a_cluster_or_ray_one_line_says_what_to_do(
    exported_run: Path, address: str, parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exported_run)
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(sys, "argv", ["on_ray"])
    with refused(*parts):
        on_ray.main()


def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with refused("RAY_ADDRESS is 127.0.0.1:1, but no Ray cluster answers there"), on_ray.ray_serve():
        pass


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("Traceback:\n  File a\ncxr.core.errors.UserError: m.onnx: no model here\n", "m.onnx: no model here"),
        ("2 replicas wait for CPUs.", "2 replicas wait for CPUs."),
        ("", "no reason given"),
    ],
)
def test_of_what_serve_says_one_line_is_shown(message: str, line: str) -> None:
    assert on_ray.reason(message) == line


def test_the_service_imports_no_ray() -> None:
    code = "import sys, service.on_ray, service.replica, service.__main__; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_replica_takes_no_other_model_than_the_one_deployed(home: Path) -> None:
    path = home / "models/classifier.onnx"
    with client(home) as service:
        replica = Replica(needs_key=False)
        replica.app = service.app  # type: ignore[assignment]  # as Serve does
        before = service.get("/health").json()["model_sha256"]
        path.write_bytes(path.read_bytes().replace(b'"youden": 0.4', b'"foudey": 0.4'))  # in its metadata
        with refused(f"not {before} as when the service was deployed"):
            asyncio.run(replica.reconfigure({"model_sha256": before}))
        assert service.get("/health").json()["model_sha256"] == before
        replica.check_health()
        after = on_ray.load_served(settings(home)).model.sha256
        asyncio.run(replica.reconfigure({"model_sha256": after}))
        assert service.get("/health").json()["model_sha256"] == after != before


def test_a_replica_without_a_model_or_the_key_is_not_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXR_API_KEY", raising=False)
    with pytest.raises(RuntimeError, match="CXR_API_KEY"):
        Replica(needs_key=True)
    with client(tmp_path) as service:
        replica = Replica(needs_key=False)
        replica.app = service.app  # type: ignore[assignment]
        with pytest.raises(Exception, match="no model here"):
            replica.check_health()
