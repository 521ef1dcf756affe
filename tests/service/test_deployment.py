"""compose.yaml and the systemd unit start the same service, with the same limits and the same files."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from service.served import CARD
from tests.builders import ROOT

UNIT = ROOT / "docs/cxr.service"
COMPOSE = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())["services"]["cxr"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze (Debian: systemd)")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    # With paths that exist here, since it looks for the programs and folders.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.M)
    unit = tmp_path / "cxr.service"

    def verify(content: str) -> str:
        unit.write_text(content)
        return subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True).stderr

    assert verify(text) == ""
    assert "Unknown key" in verify(text.replace("MemoryMax=", "MemoryMost="))


def test_unit_and_compose_agree() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    assert service["MemoryMax"].lower() == COMPOSE["mem_limit"]
    assert f"{service['TimeoutStopSec']}s" == COMPOSE["stop_grace_period"]
    assert "-m service " in service["ExecStart"]
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert "ORT_DISABLE_TELEMETRY=1" in service["Environment"]


def test_the_container_has_the_folders_that_are_served_read_only() -> None:
    mounted = {volume.split(":")[0]: volume.split(":")[2] for volume in COMPOSE["volumes"]}
    folders = {"./models", "./metrics", "./data", f"./{CARD.parent}"}
    assert mounted == dict.fromkeys(folders, "ro")
