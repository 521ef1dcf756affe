"""The proxy of docs/security.md, by nginx, before the running service."""

import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.broken_images import encoded
from scripts.running_service import serving
from tests.builders import ROOT, noise_images

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
NAME = "xray.example.org"
WHOLE = """\
daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {site}
}}
"""

pytestmark = pytest.mark.skipif(
    not (NGINX and shutil.which("openssl")), reason="needs nginx and openssl (Debian: apt-get install nginx)"
)


@pytest.fixture(scope="module")
def proxy(exported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("nginx")
    key, certificate = folder / "key", folder / "certificate"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={NAME}"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (site,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/security.md").read_text(), re.DOTALL)
    with serving(CXR_HOME=str(exported_run), CXR_ALLOWED_HOSTS=f"{NAME},127.0.0.1") as running:
        for old, new in {
            "443 ssl": f"127.0.0.1:{port} ssl",
            "/etc/ssl/xray.pem": str(certificate),
            "/etc/ssl/xray.key": str(key),
            "http://127.0.0.1:8000": running.address,
        }.items():
            assert old in site
            site = site.replace(old, new)
        (folder / "nginx.conf").write_text(WHOLE.format(folder=folder, site=site))
        with subprocess.Popen([str(NGINX), "-c", folder / "nginx.conf", "-p", folder]) as process:
            while not (folder / "pid").is_file() or not (folder / "pid").read_text():
                assert process.poll() is None, (folder / "error.log").read_text()
                time.sleep(0.05)
            client = httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=False, headers={"Host": NAME})
            yield client
            process.send_signal(signal.SIGTERM)


def test_a_radiograph_is_classified_through_the_proxy(proxy: httpx.Client) -> None:
    answer = proxy.post("/predict", files={"file": ("a", encoded(noise_images(1, 64)[0], "PNG"))})
    assert (answer.status_code, answer.json()["top_k"]) == (200, 2)
    assert proxy.get("/").headers["content-security-policy"]


def test_the_proxy_closes_metrics_and_passes_no_unknown_host(proxy: httpx.Client) -> None:
    assert proxy.get("/metrics").status_code == 403
    assert proxy.get("/health").status_code == 200
    assert proxy.get("/health", headers={"Host": "evil.example"}).status_code == 421


def test_the_proxy_reads_no_more_than_the_service_would(proxy: httpx.Client) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = http.client.HTTPSConnection(proxy.base_url.host, proxy.base_url.port, context=context)
    client.putrequest("POST", "/predict")
    client.putheader("Content-Length", str(65 * 2**20))
    client.endheaders()
    assert client.getresponse().status == 413
    client.close()
