"""Write the model card from what the other stages measured."""

import hashlib
from pathlib import Path
from typing import Any

from cxr import card
from cxr.errors import UserError, run
from cxr.files import atomic, read_json
from cxr.params import load

METRICS = (
    "data",
    "test",
    "details",
    "retrieval",
    "retrieval_details",
    "slices",
    "explain",
    "robustness",
    "shift",
    "report",
)
SPEC, WEIGHTS = Path("models/classifier.json"), Path("models/classifier.safetensors")
CARD = Path("reports/model_card.md")


def main() -> None:
    params = load()
    facts = card.Facts(
        params=params,
        spec=read_json(SPEC),
        model_sha256=hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        metrics={name: measured(name) for name in METRICS},
    )
    with atomic(CARD) as temporary:
        temporary.write_text(card.render(facts), encoding="utf-8", newline="\n")
    print(f"{CARD}: {len(facts.metrics)} metrics files in words")


def measured(name: str) -> Any:
    path = Path(f"metrics/{name}.json")
    if not path.is_file():
        raise UserError(f"{path}: not there, and the model card speaks of it; run `dvc repro`")
    return read_json(path)


if __name__ == "__main__":
    run(main)
