"""Every number on the model card is in a metrics file; Hugging Face understands its head."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from cxr import params
from cxr.core.dataset import SMALL
from cxr.core.files import read_json, write_json
from cxr.params import load_params
from cxr.recipes import apply_recipe
from cxr.reports.ledger import PATH as LEDGER
from stages import card
from tests.builders import refused
from tests.repository import Repository

CARD = Path("reports/model_card.md")
# Numbers in names and addresses; the template has no others.
NOT_MEASURED = re.compile(r"https?://\S+|`[^`]*`|\([^()]*\.png\)|MedMNIST v2|8-bit|SHA-256|95 %")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")


@pytest.fixture(params=[2, 3], ids=["two classes", "three classes"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all files that the stage reads, as the working directory."""
    run = (
        request.getfixturevalue("tiny_run").path
        if request.param == 2
        else request.getfixturevalue("three_class_run")
    )
    shutil.copytree(run / "metrics", tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name in ("params.yaml", "models/classifier.json", "models/classifier.safetensors"):
        shutil.copyfile(run / name, tmp_path / name)
    write_ledger()
    return tmp_path


def write_ledger(test_set: str = "pneumoniamnist", decisions: Sequence[str] = ("none",)) -> None:
    row = "\n- {date: 2026-01-01, kind: recipe, run: a run, source: a file, decision: %s}"
    LEDGER.parent.mkdir(exist_ok=True)
    LEDGER.write_text(f"test_set: {test_set}\nreadings:" + "".join(row % text for text in decisions))


def written() -> str:
    card.main()
    return CARD.read_text(encoding="utf-8")


def values(tree: object) -> Iterator[float]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from values(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from values(value)
    elif isinstance(tree, (int, float)) and not isinstance(tree, bool):
        yield tree


def as_written(number: float) -> set[str]:
    return {
        str(number),
        f"{number:g}",
        f"{number:,}",
        f"{number:,.4f}",
        f"{number:,.3f}",
        f"{100 * number:.1f}",
    }


def unknown_numbers(text: str) -> list[str]:
    """The numbers on the card that are no measurement, parameter, total or proportion of a class."""
    trees: list[object] = [json.loads(path.read_text()) for path in Path("metrics").glob("*.json")]
    settings = load_params()
    trees += [read_json(card.SPEC), settings.seed]
    trees += [
        section.model_dump()
        for section in (settings.train, settings.finetune, settings.augment, settings.calibrate)
    ]
    counts = read_json("metrics/data.json")["counts"]
    totals = {split: sum(of_class.values()) for split, of_class in counts.items()}
    trees += [totals, [n / totals[split] for split, of_class in counts.items() for n in of_class.values()]]
    trees.append(sum(read_json("metrics/report.json")["cases"].values()))
    known = set().union(*(as_written(value) for value in values(trees)))
    subgroups = read_json("metrics/subgroups.json")
    for sentence in (subgroups["worst"], subgroups["top_confusion"]):
        assert sentence in text
        text = text.replace(sentence, "")
    numbers = NUMBER.findall(NOT_MEASURED.sub("", text))
    assert len(numbers) > 100
    return [number for number in numbers if number not in known]


def changed(tree: object, generator: np.random.Generator) -> object:
    """`tree` with another number in place of each."""
    if isinstance(tree, dict):
        return {key: changed(value, generator) for key, value in tree.items()}
    if isinstance(tree, list):
        return [changed(value, generator) for value in tree]
    if isinstance(tree, int):
        return int(generator.integers(10_000, 1_000_000))
    return float(generator.uniform(0.01, 0.99)) if isinstance(tree, float) else tree


def check_form(text: str) -> None:
    """No blank line too many, and every row of a table has as many cells as its head."""
    assert text.endswith("\n")
    assert "\n\n\n" not in text
    assert not re.search(r"[ \t]$", text, re.M)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, rule, *rows = table.splitlines()
        assert re.fullmatch(r"\|( --- \|)+", rule)
        assert rows
        assert {line.count("|") for line in (head, *rows)} == {rule.count("|")}, table


def test_every_number_is_a_measurement_or_parameter(place: Path) -> None:
    text = written()
    assert unknown_numbers(text) == []
    check_form(text)
    assert not re.search(r"\b(?:films?|pictures?|shares?|shipped)\b", text)


def test_other_measurements_are_another_card_without_an_old_number(place: Path) -> None:
    before, generator = written(), np.random.default_rng(0)
    for name in card.METRICS:
        path, kept = Path(f"metrics/{name}.json"), read_json(f"metrics/{name}.json")
        write_json(path, changed(kept, generator))
        after = written()
        # The card quotes two sentences of subgroups.json and no number; the clinical reading of more than two
        # classes is empty.
        assert (after != before) == (name != "subgroups" and kept != {}), name
        before = after
    spec = read_json(card.SPEC)
    write_json(card.SPEC, spec | {"members": 4711, "size": 815})
    changes = {"seed": 12345, "train": {"lr": 0.0123, "batch_size": 7654, "epochs": 321}}
    Path("change.yaml").write_text(json.dumps(changes | {"augment": {"rotation": 12.75}}))
    apply_recipe(Path("change.yaml"), params.PATH)
    after = written()
    assert unknown_numbers(after) == []
    for words in ("4711 `compact_cnn`", "815 x 815", "Seed: 12345", "321 epochs", "batch size 7654"):
        assert words in after
    assert "learning rate 0.0123" in after
    assert "rotation 12.75" in after


def test_hugging_face_understands_the_head(place: Path) -> None:
    data, test, source = ModelCard(written()).data, read_json("metrics/test.json"), card_source()
    assert data.license == source["licence_id"]
    assert data.get("datasets") is None  # synthetic radiographs and local folders are not on the hub
    assert (data.library_name, data.pipeline_tag) == ("pytorch", "image-classification")
    assert data.model_name == "cxr-compact_cnn"
    assert data.eval_results
    for result in data.eval_results:
        assert result.metric_value == test[result.metric_name]["ensemble"]
        assert result.metric_type in data.metrics
        assert (result.dataset_type, result.dataset_name) == (source["id"], source["name"])
        assert (result.dataset_split, result.task_type) == ("test", "image-classification")
    assert {"roc_auc", "accuracy", "f1"} <= set(data.metrics)
    measured = {float(value["ensemble"]) for name, value in test.items() if name != "majority_baseline"}
    assert set(values(data.to_dict())) <= measured


def card_source() -> dict[str, str]:
    source: dict[str, str] = read_json("metrics/data.json")["source"]
    return source


def test_a_data_set_of_the_hub_is_linked(place: Path) -> None:
    data = read_json("metrics/data.json")
    data["source"] |= {"hub_id": "acme/radiographs", "licence_id": "cc-by-4.0"}
    write_json("metrics/data.json", data)
    metadata = ModelCard(written()).data
    assert (metadata.datasets, metadata.license) == (["acme/radiographs"], "cc-by-4.0")
    assert {result.dataset_type for result in metadata.eval_results} == {"acme/radiographs"}


def test_earlier_readings_of_test_are_those_of_the_ledger(place: Path) -> None:
    write_ledger(card_source()["id"], ["none", "Kept", "Rejected", "none"])
    assert "Test was read 4 times, and a decision followed 2 of these readings, so results" in written()
    write_ledger("another", ["none", "Kept", "Rejected", "none"])
    text = written()
    assert "How often this test split was read is not recorded" in text
    assert "that of `another`." in text
    assert "Test was read" not in text


def test_equal_runs_write_equal_bytes_that_the_hub_keeps(place: Path) -> None:
    text = written()
    assert written() == text
    assert b"\r" not in CARD.read_bytes()
    assert str(ModelCard(text)) == text


def test_operating_points_are_for_two_classes_only(place: Path) -> None:
    text = written()
    several = len(read_json(card.SPEC)["classes"]) > 2
    assert ("there is no threshold: the most probable class" in text) == several
    assert ("| Maximum of Youden's index | " in text) != several
    assert ("| AUC, one class against the rest, mean over classes | " in text) == several


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"report": {"writer": "none"}}, ["No reports were generated"]),
        ({"report": {"writer": "acme/tiny"}}, ["language model `acme/tiny` (revision `main`)"]),
        ({"finetune": {"epochs": 5}}, ["- Fine-tuning: 5 epochs, `adamw`, learning rate 3e-05"]),
        ({"augment": {"crop": 0.5, "rotation": 0}}, ["stored images): crop 0.5, scale 0.15"]),
        ({"augment": {"resolution": "input"}}, ["after resizing to the input of the network): rotation 10"]),
        (
            {"index": {"gallery": "train_val"}},
            ["labelled training and validation images", "| train and val | Clas"],
        ),
        ({"index": {"gallery": "test"}}, ["**it leaks by design**", "| test, which holds the queries |"]),
    ],
    ids=lambda value: "",
)
def test_words_follow_the_parameters(place: Path, changes: dict[str, object], words: list[str]) -> None:
    before = written()
    Path("change.yaml").write_text(json.dumps(changes))
    apply_recipe(Path("change.yaml"), params.PATH)
    after = written()
    check_form(after)
    for phrase in words:
        assert phrase not in before
        assert phrase in after


def test_images_of_a_table_that_are_not_used_are_counted(place: Path) -> None:
    data = read_json("metrics/data.json")
    assert "that the table lists" not in written()
    left_out = {
        "rows": 7_001,
        "by_reason": {"other_view": 2_003, "unreadable": 4},
        "broken": {"a.png": "empty"},
    }
    write_json("metrics/data.json", data | {"left_out": left_out})
    assert (
        "Of 7,001 images that the table lists, not used: 2,003 (other view), 4 (unreadable).\n" in written()
    )
    write_json("metrics/data.json", data | {"left_out": left_out | {"by_reason": {}}})
    assert "Of 7,001 images that the table lists, not used: none.\n" in written()


def test_small_val_and_test_are_named(place: Path) -> None:
    data = read_json("metrics/data.json")
    enough = {split: dict.fromkeys(data["counts"][split], SMALL) for split in data["counts"]}
    write_json("metrics/data.json", data | {"counts": enough})
    assert "is small:" not in written()
    few = {split: dict(of_class) for split, of_class in enough.items()}
    few["val"]["normal"], few["test"]["pneumonia"] = 6, 24
    write_json("metrics/data.json", data | {"counts": few})
    text = written()
    check_form(text)
    assert "**Val is small:** 6 of normal. Temperature and thresholds" in text
    assert "**Test is small:** 24 of pneumonia. The intervals below may be too narrow" in text


def test_both_calibration_errors_are_named(place: Path) -> None:
    scores = read_json("metrics/details.json")["test"]["calibration"]["temperature"]
    text = written()
    assert (
        "| Split | Calibration | ECE, as they are | ECE at the stated prevalence | Brier score | Log loss |"
        in text
    )
    (row,) = re.findall(r"^\| test \| Temperature scaling \(released\) \| (.*)$", text, re.M)
    assert [float(cell.split()[0]) for cell in row.split("|")[:2]] == [
        round(scores[name]["value"], 3) for name in ("ece", "ece_at_prevalence")
    ]


def test_targets_are_shown_with_what_val_reached(place: Path) -> None:
    points = read_json("metrics/details.json")["val"].get("operating_points")
    text = written()
    if points is None:
        assert "on val |" not in text
        return
    for rule, name in (("target_sensitivity", "sensitivity"), ("target_specificity", "specificity")):
        (row,) = re.findall(rf"^\| \w+ with a {name} of 95\.0 % on val \| (.*)$", text, re.M)
        shown = [float(cell) for cell in row.split("|")[1:3]]
        expected = [points[rule][key]["value"] for key in ("sensitivity", "specificity")]
        assert shown == pytest.approx(expected, abs=5e-4)
        assert points[rule][name]["value"] >= 0.95


def test_what_was_not_measured_is_not_available(place: Path) -> None:
    explain, details = read_json("metrics/explain.json"), read_json("metrics/details.json")
    del explain["other_class"]["ssim"], details["test"]["variability"]["accuracy"]["between_seed_sd"]
    write_json("metrics/explain.json", explain)
    write_json("metrics/details.json", details)
    write_json(card.SPEC, read_json(card.SPEC) | {"members": 1})
    text = written()
    check_form(text)
    assert re.search(r"^\| Another class \| .* \| n/a \|$", text, re.M)
    assert re.search(r"^\| Accuracy \| .* \| n/a \|$", text, re.M)
    assert "| Architecture | one `compact_cnn` network |" in text


def test_what_acquisition_alone_reaches_stands_beside_the_classifier(place: Path) -> None:
    details = read_json("metrics/details.json")
    score = {"value": 0.8125, "low": 0.7125, "high": 0.9125}
    area = "auc" if "auc" in details["test"]["ensemble"] else "auc_ovr_macro"
    for split in ("val", "test"):
        details[split]["acquisition"] = {area: score, "balanced_accuracy": score}
    write_json("metrics/details.json", details)
    text = written()
    check_form(text)
    row = re.search(r"^\| Acquisition features alone (.*)\|$", text, re.M)
    assert row
    assert row[1] == 4 * "| 0.812 (0.713 to 0.912) "
    ours = re.search(r"^\| This classifier \| ([\d.]+) ", text, re.M)
    assert ours
    assert ours[1] == f"{details['val']['ensemble'][area]:.3f}"
    for split in ("val", "test"):
        del details[split]["acquisition"]
    write_json("metrics/details.json", details)
    assert "Acquisition features" not in written()
    check_form(written())


def test_maps_are_compared_with_opacities_or_the_card_says_that_they_are_not(place: Path) -> None:
    explain = read_json("metrics/explain.json")
    score = {"value": 0.25, "low": 0.2, "high": 0.3, "uniform": 0.0625, "shuffled": 0.125}
    game = {"images": 4321, "empty": 0.5, "tolerance": 17, "hit": score, "energy": score}
    write_json("metrics/explain.json", explain | {"pointing": game})
    text = written()
    check_form(text)
    assert "The 4,321 synthetic test radiographs" in text
    assert "within 17 px" in text
    for title in ("Pointing game", "Energy inside the opacity"):
        assert f"| {title} | 0.250 (0.200 to 0.300) | 0.062 | 0.125 |" in text
    explain.pop("pointing", None)
    write_json("metrics/explain.json", explain)
    text = written()
    check_form(text)
    assert "(../docs/pointing.md)" in text
    assert "synthetic test radiographs" not in text


def test_figures_exist(tiny_run: Repository) -> None:
    text = (tiny_run.path / CARD).read_text()
    figures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(figures) >= 7
    for figure in figures:
        assert (tiny_run.path / "reports" / figure).resolve().is_file(), figure


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


def test_metrics_of_other_code_are_an_error(place: Path) -> None:
    shift, data = read_json("metrics/shift.json"), read_json("metrics/data.json")
    write_json("metrics/shift.json", {"pixels": {"train_val": {"normal": {"auc": 0.5}}}})
    with refused("model_card.md.j2: 'dict object' has no attribute 'chance_low'", "dvc repro"):
        card.main()
    write_json("metrics/shift.json", shift)
    del data["source"]
    write_json("metrics/data.json", data)
    with refused("metrics/data.json: without `source`", "dvc repro split"):
        card.main()
    assert not CARD.exists()
