"""Requests per second of this version of the service and of an earlier one, with the same model, in one run.

    python -m benchmarks.service_throughput IMAGE.jpeg --against ae46628 [--rounds 5] [--seconds 6]

Starts the service of this working tree, that of the commit, checked out into a temporary folder, and a third
one: this with the same model in 8 bits (`benchmarks.service_int8`). wrk posts IMAGE to /predict of each in
turn, so that load from other processes affects all alike. Medians of ROUNDS; of the ratios within a round
also the smallest and the largest.
"""

import argparse
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.service_int8 import quantised
from benchmarks.service_load import measure, write_script
from cxr.core.dataset import load_dataset
from cxr.core.errors import UserError, run
from scripts.running_service import serving


def main() -> None:
    """Raises `UserError` if there is no such commit, or a service does not answer with 200."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--against", required=True, metavar="COMMIT")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = folder / "8bits.onnx"
        model.write_bytes(quantised(load_dataset()))
        services = {
            arguments.against: stack.enter_context(serving(check_out(arguments.against, folder / "code"))),
            "this": stack.enter_context(serving()),
            "this, 8 bits": stack.enter_context(serving(CXR_MODEL=str(model))),
        }
        script = write_script(folder, arguments.image)
        _, *others = services
        head = ["clients", *services, *(f"{name}: ratio" for name in others)]
        print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
        for clients in arguments.clients:
            rates: dict[str, list[float]] = {name: [] for name in services}
            for number in range(arguments.rounds + 1):
                for name, service in services.items():
                    result, _ = measure(service, script, clients, arguments.seconds if number else 2)
                    if set(result["statuses"]) != {"200"} or result["failed"]:
                        raise UserError(f"{name}: not every request was answered with 200: {result}")
                    if number:  # the first round warms up
                        rates[name].append(result["requests"] / result["microseconds"] * 1e6)
            table = np.array(list(rates.values()))
            cells = [f"{rate:.0f}/s" for rate in np.median(table, axis=1)]
            cells += [
                f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
                for ratios in table[1:] / table[0]
            ]
            print(f"| {clients} | {' | '.join(cells)} |", flush=True)


def check_out(commit: str, folder: Path) -> Path:
    """Returns `folder`, with the files of the commit. Raises `UserError` if there is none."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], capture_output=True)
    if archive.returncode:
        raise UserError(f"--against {commit}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


if __name__ == "__main__":
    run(main)
