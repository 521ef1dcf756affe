"""The model card says what the metrics files say, and nothing else."""

import json
import re
from collections.abc import Iterator

from conftest import Repository

from cxr import params

# Numbers in names, addresses and dates; the card's own words have none.
NOT_MEASURED = re.compile(r"https?://\S+|`[^`]*`|\([^()]*\.png\)|v2|8 bit|Grad-CAM|95 %|MedMNIST-C")


def values(tree: object) -> Iterator[float]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from values(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from values(value)
    elif isinstance(tree, (int, float)) and not isinstance(tree, bool):
        yield tree


def as_written(number: float) -> set[str]:
    return {
        f"{number:.4f}",
        f"{number:.3f}",
        f"{100 * number:.1f}",
        f"{number:g}",
        f"{number:,}",
        f"{number:.2g}",
    }


def test_every_number_is_one_that_a_stage_measured(tiny_run: Repository) -> None:
    trees = [json.loads(path.read_text()) for path in (tiny_run.path / "metrics").glob("*.json")]
    trees.append(json.loads((tiny_run.path / "models/classifier.json").read_text()))
    counts = json.loads((tiny_run.path / "metrics/data.json").read_text())["counts"]
    totals = {split: sum(of_class.values()) for split, of_class in counts.items()}
    trees.append(totals)
    trees.append([n / totals[split] for split, of_class in counts.items() for n in of_class.values()])
    settings = params.load(tiny_run.path / "params.yaml")
    trees.append([settings.seed, settings.train.epochs, settings.train.lr, settings.train.batch_size])
    known = set().union(*(as_written(value) for value in values(trees)))

    text = (tiny_run.path / "reports/model_card.md").read_text()
    words = json.loads((tiny_run.path / "metrics/slices.json").read_text())
    for sentence in (words["worst"], words["top_confusion"]):
        assert sentence in text
        text = text.replace(sentence, "")
    found = re.findall(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?", NOT_MEASURED.sub("", text))
    assert len(found) > 100
    assert [number for number in found if number not in known] == []


def test_another_measurement_is_another_card(tiny_run: Repository) -> None:
    path = tiny_run.path / "metrics/test.json"
    measured = json.loads(path.read_text())
    measured["auc"]["ensemble"] = 0.123456
    path.write_text(json.dumps(measured))
    try:
        tiny_run.run("python", "-m", "stages.card")
        assert "| 0.1235 |" in (tiny_run.path / "reports/model_card.md").read_text()
    finally:
        tiny_run.run("git", "checkout", "--quiet", "metrics", "reports")


def test_pictures_are_there(tiny_run: Repository) -> None:
    text = (tiny_run.path / "reports/model_card.md").read_text()
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) >= 7
    for picture in pictures:
        assert (tiny_run.path / "reports" / picture).resolve().is_file(), picture


def test_card_is_not_written_without_measurements(tiny_run: Repository) -> None:
    path = tiny_run.path / "metrics/shift.json"
    kept = path.read_bytes()
    path.unlink()
    try:
        message = tiny_run.run("python", "-m", "stages.card", code=1)
        assert message.startswith("error: metrics/shift.json")
        assert message.count("\n") == 1
    finally:
        path.write_bytes(kept)
