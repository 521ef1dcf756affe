"""The service on Ray Serve against `python -m service`, with the same model and cores, in one run.

    python -m benchmarks.service_on_ray IMAGE.jpeg [--clients 1 8 64] [--rounds 3] [--seconds 5]

Starts a Ray node of two CPUs, and `python -m service`, on the model in models/, and posts IMAGE to /predict.
First wrk asks the service, and Serve with one and with two replicas, in turn, so that load from other
processes affects all alike: medians of ROUNDS, with latencies p50 and p99. Then two replicas and 8 clients,
each with one request after the other: the model is replaced twice, and a replica is killed three times.
Prints the answers by status and model.
"""

import argparse
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.service_load import write_script, wrk
from cxr.core.errors import UserError, run
from cxr.inference.onnx_session import PATH
from scripts.running_service import ROOT, serving

PORT = 8123
NODE = "127.0.0.2"  # Ray replaces 127.0.0.1 by the machine's outer address
KILLS = 3
CLIENTS = 8  # while the model is replaced, or a replica killed
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n\r\n'
COLUMNS = ("clients", "`python -m service`", "1 replica", "2 replicas", "ratios")


def main() -> None:
    """Raises `UserError` if a request fails for another reason than that its replica was killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, one_node(cpus=2):
        with serving() as alone:
            script = write_script(Path(folder), arguments.image)
            throughput(alone.address, script, arguments.clients, arguments.rounds, arguments.seconds)
        model = Path(folder, "model.onnx")
        model.write_bytes(PATH.read_bytes())
        under_load(arguments.image.read_bytes(), model)


def throughput(alone: str, script: Path, counts: list[int], rounds: int, seconds: int) -> None:
    """Print the table. alone: address of the service that runs without Ray."""
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    results: dict[tuple[int, int], list[dict]] = {}
    for number in range(rounds + 1):
        for replicas in (0, 1, 2):
            address = deployed(replicas) if replicas else alone
            for clients in counts:
                result = wrk(address, script, clients, seconds if number else 2)
                if set(result["statuses"]) != {"200"} or result["failed"]:
                    raise UserError(f"{replicas} replicas: not every answer was 200: {result}")
                if number:  # the first round warms up
                    results.setdefault((clients, replicas), []).append(result)
    for clients in counts:
        cells, rates = [], []
        for replicas in (0, 1, 2):
            of_all = results[clients, replicas]
            rates.append(float(np.median([each["requests"] / each["microseconds"] * 1e6 for each in of_all])))
            p50, p99 = (np.median([each[name] for each in of_all]) / 1000 for name in ("p50", "p99"))
            cells.append(f"{rates[-1]:.0f}/s, {p50:.1f} and {p99:.1f} ms")
        ratios = ", ".join(f"{rate / rates[0]:.2f}" for rate in rates[1:])
        print(f"| {clients} | {' | '.join(cells)} | {ratios} |", flush=True)


def under_load(image: bytes, model: Path) -> None:
    address = deployed(2, CXR_MODEL=str(model))
    with asking(address, image, CLIENTS) as load:
        for _ in range(2):
            time.sleep(5)
            replace(model)
            start = time.monotonic()
            deployed(2, CXR_MODEL=str(model))
            print(f"model replaced in {time.monotonic() - start:.1f} s")
        print(f"two replacements, {CLIENTS} clients: {load.words()}", flush=True)
        if any(status != "200" for status, _ in load.answers):
            raise UserError("a request failed")
        load.answers.clear()
        time.sleep(5)
        print(f"then, for 5 s: {load.words()}", flush=True)
        load.answers.clear()
        for _ in range(KILLS):
            killed = replicas()[0]
            os.kill(killed, signal.SIGKILL)
            start = time.monotonic()
            while killed in (now := replicas()) or len(now) < 2:
                time.sleep(0.2)
            print(
                f"a replica killed, two again after {time.monotonic() - start:.1f} s: {load.words()}",
                flush=True,
            )
            load.answers.clear()


@contextmanager
def one_node(cpus: int) -> Iterator[None]:
    """A Ray cluster of one node, and RAY_ADDRESS for what runs meanwhile."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT)}
    node = {"node_ip_address": NODE, "include_dashboard": False, "num_cpus": cpus}
    cluster = Cluster(True, head_node_args=node)
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield
    finally:
        cluster.shutdown()


def deployed(replicas: int, port: int = PORT, **variables: str) -> str:
    """The address of the service, once it has been deployed with the model of the folder this is called in.
    Raises `UserError` if it is not. variables: of its environment."""
    command = [sys.executable, "-m", "service.on_ray", "--port", str(port), "--replicas", str(replicas)]
    home = {"CXR_HOME": str(Path.cwd())}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **home, **variables}, capture_output=True, text=True
    )
    if done.returncode:
        raise UserError(done.stderr.strip().splitlines()[-1])
    return f"http://127.0.0.1:{port}"


def replicas() -> list[int]:
    """The process IDs of the replicas that answer."""
    from ray.serve.context import _get_global_client

    from service.on_ray import NAME, ray_serve

    with ray_serve():
        details = _get_global_client().get_serve_details()["applications"][NAME]["deployments"]["Replica"]
    return [replica["pid"] for replica in details["replicas"] if replica["state"] == "RUNNING"]


def replace(model: Path) -> None:
    """Another model file that answers alike: with another name of an operating point, of the same length."""
    content = model.read_bytes()
    old, new = (
        (b'"one_half":', b'"one_hall":') if b'"one_half":' in content else (b'"one_hall":', b'"one_half":')
    )
    if old not in content:
        raise UserError(f"{model}: no {old.decode()} in its metadata")
    model.write_bytes(content.replace(old, new))


class Load:
    """Clients that post `image` to /predict, one request after the other on a connection of their own.

    answers: by status, or the name of the exception, and the first 8 digits of the model's SHA-256. slowest:
    seconds of a request.
    """

    def __init__(self, address: str, image: bytes) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self.slowest, self.ended = 0.0, False
        self._address, self._body = address.removeprefix("http://"), HEAD + image + b"\r\n--b--\r\n"

    def post(self) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        connection = http.client.HTTPConnection(self._address, timeout=60)
        while not self.ended:
            start = time.monotonic()
            try:
                connection.request("POST", "/predict", self._body, headers)
                answer = connection.getresponse()
                text = answer.read().decode()
                model = text.partition('"model_sha256":"')[2][:8]
                self.answers[str(answer.status), model] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__, ""] += 1
                connection.close()
            self.slowest = max(self.slowest, time.monotonic() - start)

    def words(self) -> str:
        counts = [
            f"{count:,} x {status} {model}".strip() for (status, model), count in sorted(self.answers.items())
        ]
        return f"{', '.join(counts)}; the slowest took {self.slowest:.1f} s"


@contextmanager
def asking(address: str, image: bytes, clients: int) -> Iterator[Load]:
    """Requests for as long as the context lasts."""
    load = Load(address, image)
    threads = [threading.Thread(target=load.post) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.ended = True
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    run(main)
