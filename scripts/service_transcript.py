"""The answers of the service in docs/service.md.

    python -m scripts.service_transcript IMAGE

Starts the service on the model in models/, asks it everything with curl, and writes what it said between the
two marks of docs/service.md. Run it again when the model or an answer's form has changed.
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
THUMBNAIL = 40  # characters of one that are shown
COMMANDS = (
    "curl $U/health",
    "curl $U/metadata",
    "curl -F file=@film.jpeg $U/predict",
    "curl -F files=@film.jpeg -F files=@README.md $U/predict/batch",
    "curl -F file=@film.jpeg '$U/similar?k=2'",
    "curl -F file=@film.jpeg '$U/explain?opacity=0.4' -o map.png && file map.png",
    "curl -i -F film=@film.jpeg $U/predict",
    "curl -F file=@README.md $U/predict",
    "curl $U/metrics | grep cxr_requests_total{",
)


def main() -> None:
    """Raises `UserError` if docs/service.md has lost a mark, or the service does not start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    image = parser.parse_args().image
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise UserError(f"{PAGE} has lost the line {BEGIN.strip()} or {END.strip()}")
    with tempfile.TemporaryDirectory() as folder, serving() as running:
        shutil.copy(image, Path(folder, "film.jpeg"))
        shutil.copy("README.md", folder)
        said = [transcript(command, running.address, folder) for command in COMMANDS]
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{''.join(said)}{END}{after}", encoding="utf-8")


def transcript(command: str, address: str, folder: str) -> str:
    """A Markdown block: the command as one would type it, and what it printed."""
    quiet = command.replace("curl ", "curl -sS ").replace("'", '"')
    done = subprocess.run(
        ["bash", "-c", quiet], cwd=folder, env={"U": address}, capture_output=True, text=True, check=True
    )
    said = done.stdout.replace("\r", "").strip()
    if said.startswith("{"):
        said = json.dumps(shortened(json.loads(said)), indent=4)
    lines = [f"$ {command}", *said.splitlines()]
    return "".join(f"    {line}".rstrip() + "\n" for line in lines) + "\n"


def shortened(answer: dict[str, Any]) -> dict[str, Any]:
    for case in answer.get("cases", []):
        case["thumbnail"] = case["thumbnail"][:THUMBNAIL] + "..."
    for result in answer.get("results", []):
        if result["prediction"]:
            result["prediction"] = "... as above ..."
    return answer


if __name__ == "__main__":
    run(main)
