"""The service conforms to its OpenAPI description and answers no request with a 5xx."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.running_service import serving


@pytest.mark.parametrize("key", ["", "a-key"])
def test_schemathesis_finds_no_error(exported_run: Path, tmp_path: Path, key: str) -> None:
    with serving(CXR_HOME=str(exported_run), CXR_API_KEY=key) as running:
        command = [Path(sys.executable).with_name("schemathesis"), "run", f"{running.address}/openapi.json"]
        command += ["--checks", "all", "--max-examples", "20", "--seed", "0", "--no-color"]
        # No schema can describe which bytes are an image, so data that it allows may be rejected.
        command += ["--exclude-checks", "positive_data_acceptance"]
        command += ["--header", f"X-API-Key: {key}"] if key else []
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 11" in done.stdout
