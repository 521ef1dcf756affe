"""Writes the transcript of docs/service.md: one curl command for each endpoint, and its output.

    python -m scripts.service_transcript RADIOGRAPH.jpeg

Starts the service on the model in models/ (or in $CXR_HOME) and replaces the text between the two marks of
docs/service.md. Run it again after a change of the model or of the answers' format.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cxr.core.errors import UserError, run
from scripts.running_service import serving

PAGE = Path("docs/service.md")
BEGIN, END = "<!-- written by `python -m scripts.service_transcript` -->\n", "<!-- end of transcript -->\n"
THUMBNAIL = 40  # characters shown of an image
COMMANDS = (
    "curl $U/health",
    "curl $U/metadata",
    "curl -F file=@radiograph.jpeg $U/predict",
    "curl -F files=@radiograph.jpeg -F files=@README.md $U/predict/batch",
    "curl -F file=@radiograph.jpeg '$U/similar?k=2'",
    "curl -F file=@radiograph.jpeg '$U/explain?alpha=0.4' -o map.png && file map.png",
    "curl -F file=@radiograph.jpeg $U/analyse",
    "curl -i -F image=@radiograph.jpeg $U/predict",
    "curl -F file=@README.md $U/predict",
    "curl $U/metrics | grep cxr_requests_total{",
)


def main() -> None:
    """Raises `UserError` if docs/service.md lacks a mark or the service does not start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    image = parser.parse_args().image
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise UserError(f"{PAGE}: the line {BEGIN.strip()} or {END.strip()} is missing; restore it from Git")
    with tempfile.TemporaryDirectory() as folder, serving() as running:
        shutil.copy(image, Path(folder, "radiograph.jpeg"))
        shutil.copy("README.md", folder)
        blocks = [transcript(command, running.address, folder) for command in COMMANDS]
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{''.join(blocks)}{END}{after}", encoding="utf-8")


def transcript(command: str, address: str, folder: str) -> str:
    """A Markdown block: the command as a user would type it, and its output."""
    quiet = command.replace("curl ", "curl -sS ").replace("'", '"')
    done = subprocess.run(
        ["bash", "-c", quiet], cwd=folder, env={"U": address}, capture_output=True, text=True, check=True
    )
    output = done.stdout.replace("\r", "").strip()
    if output.startswith("{"):
        output = json.dumps(shortened(json.loads(output)), indent=4)
    lines = [f"$ {command}", *output.splitlines()]
    return "".join(f"    {line}".rstrip() + "\n" for line in lines) + "\n"


def shortened(answer: Any, name: str = "") -> Any:
    """The answer with short images, and without predictions and similar cases that are parts of it: those
    stand in the answers of /predict and /similar. name: of the field that it is the value of."""
    if isinstance(answer, dict):
        if name in ("prediction", "similar"):
            return "... as above ..."
        return {key: shortened(value, key) for key, value in answer.items()}
    if isinstance(answer, list):
        return [shortened(value) for value in answer]
    if isinstance(answer, str) and answer.startswith("data:"):
        return answer[:THUMBNAIL] + "..."
    return answer


if __name__ == "__main__":
    run(main)
