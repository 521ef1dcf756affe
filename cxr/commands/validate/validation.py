"""What `cxr validate` finds out: predictions of labelled radiographs, metrics, errors, and what to doubt."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr.commands.radiographs import NamedFiles, NamedRadiograph
from cxr.commands.validate.intervals import Bounded
from cxr.commands.validate.labelled import LabelledPaths, find_labelled
from cxr.commands.validate.measurement import RESAMPLES, Sample, decisions, measure_sample
from cxr.commands.validate.reference import Reference, load_reference
from cxr.commands.validate.verdict import Verdict, judge
from cxr.core import dataset
from cxr.core.dataset import hash_images
from cxr.core.errors import UserError
from cxr.core.files import read_csv
from cxr.evaluation.reliability import ece_by_chance
from cxr.inference.onnx_session import OnnxModel
from cxr.model import ReleasedModel


@dataclass(frozen=True)
class Validation:
    """paths: of the N radiographs that could be read, in the order of `sample`. errors: `path` and `message`
    of each that could not. decided: (N,) int, the released decision. metrics: see `measure_sample`. chance:
    see `ece_by_chance`, None for an incomplete sample. warnings: sentences. source: of the labels.
    typicality: (N,) float, 0 to 1, see `cxr.inference.typicality`."""

    model: OnnxModel
    paths: list[Path]
    sample: Sample
    decided: np.ndarray
    metrics: dict[str, Bounded]
    chance: dict[str, float] | None
    reference: Reference | str
    verdict: Verdict
    errors: list[dict[str, str]]
    warnings: list[str]
    source: str
    typicality: np.ndarray

    @property
    def misclassified(self) -> np.ndarray:
        """(n,) int positions, by increasing probability of the true class."""
        of_truth = self.sample.probabilities[np.arange(len(self.decided)), self.sample.labels]
        wrong = np.flatnonzero(self.decided != self.sample.labels)
        return wrong[np.argsort(of_truth[wrong], kind="stable")]


def validate(data: Path, released: ReleasedModel, deidentified_check: bool = False) -> Validation:
    """data: see `find_labelled`. released: compared with the `metrics/` of test in its folder.
    deidentified_check: warn of files that may identify their patient.

    Raises `UserError` if labels are wrong, or if no radiograph could be read.
    """
    model, home = released.onnx, released.home
    facts = model.facts
    reference = load_reference(home, model)
    labelled = find_labelled(data, facts.classes)
    files = NamedFiles(labelled.paths)
    if deidentified_check:
        files.check_deidentified()
    radiographs = list(files.read(facts.size, facts.reading))
    if not radiographs:
        raise UserError(f"{data}: none of its {len(files.paths):,} radiographs could be read")
    images = np.stack([radiograph.image for radiograph in radiographs])
    answer = model.answer_each(images)
    probabilities = answer.probabilities.astype(np.float64)
    numbers = [radiograph.number for radiograph in radiographs]
    labels = np.array(labelled.labels)[numbers]
    sample = Sample(facts.classes, labels, probabilities, _patients(labelled, numbers))
    metrics = measure_sample(sample, facts.threshold, facts.prevalence)
    return Validation(
        model=model,
        paths=[radiograph.path for radiograph in radiographs],
        sample=sample,
        decided=next(iter(decisions(sample, facts.threshold).values())),
        metrics=metrics,
        chance=ece_by_chance(labels, probabilities, RESAMPLES, sample.patients) if sample.complete else None,
        reference=reference,
        verdict=judge(metrics, sample, reference),
        errors=files.errors,
        warnings=[
            *_identifying(files),
            *_doubts(radiographs),
            *_known(hash_images(images), home / dataset.LABELS),
        ],
        source=labelled.source,
        typicality=np.array([each.p_value for each in model.typicality(answer)]),
    )


def _patients(labelled: LabelledPaths, numbers: Sequence[int]) -> np.ndarray | None:
    """An image without a patient counts as one of another patient."""
    if labelled.patients is None:
        return None
    names = [labelled.patients[number] or f"\0{number}" for number in numbers]
    return np.unique(names, return_inverse=True)[1]


def _identifying(files: NamedFiles) -> list[str]:
    if not files.identifying:
        return []
    return [
        f"{len(files.identifying):,} of {len(files.paths):,} files may identify their patients by DICOM tags "
        "or burnt-in text: each is a line on stderr."
    ]


def _doubts(radiographs: Sequence[NamedRadiograph]) -> list[str]:
    shapes = {(radiograph.width, radiograph.height) for radiograph in radiographs}
    (width, height), *others = shapes
    if others or width != height or len(radiographs) == 1:
        return []
    return [
        f"All images are squares of {width} x {height} pixels. If their aspect ratio was not kept, bodies "
        "are distorted, and nothing is left to cut off to a centre square, as was done in training: use the "
        "original files."
    ]


def _known(hashes: Sequence[str], table: Path) -> list[str]:
    """Images equal to others here, or to one of the data set with which the model was built."""
    warnings = []
    if repeated := len(hashes) - len(set(hashes)):
        warnings.append(f"{repeated:,} radiographs repeat others: they are equal as the model's input.")
    if table.is_file():
        split_of = {row["sha256"]: row["split"] for row in read_csv(table)}
        counts = Counter(split_of[each] for each in hashes if each in split_of)
        warnings += [
            f"{count:,} of {len(hashes):,} radiographs are images of the model's own {split} split"
            f"{', whose results are compared here' if split == 'test' else ''}: this is not a new sample."
            for split, count in sorted(counts.items())
        ]
    return warnings
