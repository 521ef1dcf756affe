"""Requests per second, latency and memory of the service under load, on loopback.

    python -m benchmarks.service_load IMAGE.jpeg [--seconds 60] [--clients 1 8 64]

Starts `python -m service` on the model in models/ and lets wrk (https://github.com/wg/wrk; Debian's
package wrk) post IMAGE to /predict, each client over a connection of its own, as fast as answers come. wrk
and the service share the machine's cores. Memory is the service's resident set, before, half-way, at its
largest and after. Latencies of rejected requests (503) count with the others; the last column gives the
number of answers of each status.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from cxr.core.errors import UserError, run
from scripts.running_service import Running, serving

BOUNDARY = "image"
COLUMNS = (
    *("clients", "requests/s", "p50 ms", "p95 ms", "p99 ms"),
    *("MB before", "MB half-way", "MB at most", "MB after", "answers"),
)
# Each thread of wrk has its own Lua state, so it runs with one.
SCRIPT = """
wrk.method, wrk.headers["Content-Type"] = "POST", "multipart/form-data; boundary={boundary}"
local file = assert(io.open("{body}", "rb"))
wrk.body = file:read("*a")
file:close()
local threads, counts = {{}}, {{}}
function setup(thread) table.insert(threads, thread) end
function init() counts = {{}} end
function response(status)
  counts[status] = (counts[status] or 0) + 1
  seen = to_text(counts)
end
function to_text(t)
  local s = ""
  for k, v in pairs(t) do s = s .. '"' .. k .. '":' .. v .. "," end
  return s
end
function done(summary, latency)
  local text = threads[1]:get("seen") or ""
  io.write(string.format('RESULT {{"requests":%d,"microseconds":%d,"p50":%d,"p95":%d,"p99":%d,"failed":%d,' ..
    '"statuses":{{%s}}}}\\n', summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(95), latency:percentile(99),
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    text:sub(1, -2)))
end
"""


def main() -> None:
    """Raises `UserError` if wrk is not installed or the service does not start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        raise UserError("wrk: no such program; install it (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory() as folder, serving() as running:
        print(f"the first answer came {running.seconds:.1f} s after the start\n")
        print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
        script = write_script(Path(folder), arguments.image)
        measure(running, script, clients=1, seconds=3)  # warms up
        for clients in arguments.clients:
            result, memory = measure(running, script, clients, arguments.seconds)
            latencies = " | ".join(f"{result[name] / 1000:.1f}" for name in ("p50", "p95", "p99"))
            rate = result["requests"] / result["microseconds"] * 1e6
            megabytes = " | ".join(f"{value:.0f}" for value in memory)
            answers = ", ".join(
                f"{count:,} x {status}" for status, count in sorted(result["statuses"].items())
            )
            if result["failed"]:
                answers += f", {result['failed']:,} failed"
            print(f"| {clients} | {rate:.0f} | {latencies} | {megabytes} | {answers} |", flush=True)


def write_script(folder: Path, image: Path) -> Path:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{image.name}"\r\n\r\n'
    body = folder / "body"
    body.write_bytes(head.encode() + image.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode())
    script = folder / "post.lua"
    script.write_text(SCRIPT.format(boundary=BOUNDARY, body=body), encoding="utf-8")
    return script


def measure(
    running: Running, script: Path, clients: int, seconds: int
) -> tuple[dict, tuple[float, float, float, float]]:
    """The results of wrk, and the service's memory in MB before, half-way, at its maximum and after."""
    pid = running.process.pid
    samples = [resident(pid)]
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.2):
            samples.append(resident(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = wrk(running.address, script, clients, seconds)
    finished.set()
    watcher.join()
    half_way = samples[len(samples) // 2]
    return result, (samples[0], half_way, max(samples), resident(pid))


def wrk(address: str, script: Path, clients: int, seconds: int) -> dict:
    """The results of wrk: see the last lines of `SCRIPT`."""
    words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    output = subprocess.run([*words, f"{address}/predict"], capture_output=True, text=True, check=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return json.loads(line.removeprefix("RESULT "))


def resident(pid: int) -> float:
    """Resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    run(main)
