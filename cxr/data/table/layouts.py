"""What a table says of each image, in the layout of the user's own table or of a published data set.

nih       ChestX-ray14 (Wang et al., 2017, https://doi.org/10.1109/CVPR.2017.369): Data_Entry_2017.csv or
          Data_Entry_2017_v2020.csv, with the official train_val_list.txt and test_list.txt; images in
          images*/, as the archives unpack
chexpert  CheXpert (Irvin et al., 2019, https://doi.org/10.1609/aaai.v33i01.3301590): train.csv, whose
          uncertain labels are -1, and as test valid.csv, 200 studies read by three radiologists, since the
          data set's own test is published elsewhere. Paths start with the name of the data set
vindr     VinDr-CXR (Nguyen et al., 2022, https://doi.org/10.1038/s41597-022-01498-w):
          annotations/image_labels_train.csv, a row for each reader and image, and image_labels_test.csv;
          DICOM files in train/ and test/. A label that the majority of readers gave is present, one of a
          minority uncertain. It names no patients
mimic     MIMIC-CXR-JPG (Johnson et al., 2019, https://arxiv.org/abs/1901.07042): mimic-cxr-2.0.0-chexpert,
          -split and -metadata, .csv or .csv.gz; images in files/
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cxr.core.errors import UserError
from cxr.data.table.rows import column_names, missing_column, place, table_rows
from cxr.params import Table

NONE = "none"
NIH_LABELS = [
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax", "No Finding"),
]
PRESENT, ABSENT, UNCERTAIN = ("1", "1.0"), ("", "0", "0.0", "nan"), ("-1", "-1.0")


class ImageRow(NamedTuple):
    """What a table says of an image. file, number: where. path: below the folder of the images. labels:
    present, None if the table does not say; uncertain: those of which it is uncertain. patient, split: "" if
    unknown. view: None if the table has no views."""

    file: Path
    number: int
    path: str
    labels: Sequence[str] | None
    uncertain: Sequence[str] = ()
    patient: str = ""
    split: str = ""
    view: str | None = None

    @property
    def where(self) -> str:
        return place(self.file, self.number)


def image_rows_of(settings: Table, folder: Path) -> Iterator[ImageRow]:
    """The images of `settings.layout`, one after the other. folder: of the images, and of the tables of a
    published data set.

    Raises `UserError` for a table or a column that is not there, and for a label that was not declared.
    """
    match settings.layout:
        case "own":
            return own(settings)
        case "nih":
            return nih(folder)
        case "chexpert":
            return chexpert(folder, asked_findings(settings))
        case "vindr":
            return vindr(folder, asked_findings(settings))
        case "mimic":
            return mimic(folder, asked_findings(settings))


def asked_findings(settings: Table) -> list[str]:
    """The findings whose columns are needed. Raises `UserError` if none is asked for."""
    if settings.positive == NONE:
        raise UserError(
            "params.yaml: table.positive is none, but this table has a column for each finding; name the "
            "finding that is asked for, such as Pneumonia"
        )
    return [settings.positive] + ([settings.negative] if settings.others == "leave_out" else [])


def own(settings: Table) -> Iterator[ImageRow]:
    file, names = Path(settings.file), dict(settings.columns)
    present = column_names(file)
    for kind, name in names.items():
        if name not in present and (name != NONE or kind == "path"):
            raise missing_column(file, name, present, f" (params.yaml: table.columns.{kind})")
    others = {kind: name for kind, name in names.items() if name != NONE and kind != "label"}
    if names["label"] == NONE:
        yield from _wide(file, others, asked_findings(settings))
    else:
        yield from _labelled(file, others, names["label"], settings.labels)


def nih(folder: Path) -> Iterator[ImageRow]:
    names = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
    file = _find(folder, *names)
    splits: dict[str, str] = {}
    for split, name in (("train", "train_val_list.txt"), ("test", "test_list.txt")):
        lines = _find(folder, name).read_text(encoding="utf-8").split()
        splits |= dict.fromkeys(lines, split)
    paths = {
        path.name: path.relative_to(folder).as_posix() for path in sorted(folder.glob("images*/**/*.png"))
    }
    columns = {"path": "Image Index", "patient": "Patient ID", "view": "View Position"}
    for row in _labelled(file, columns, "Finding Labels", NIH_LABELS):
        if row.path not in splits:
            raise UserError(f"{row.where}: {row.path} is neither in train_val_list.txt nor in test_list.txt")
        yield row._replace(split=splits[row.path], path=paths.get(row.path, f"images/{row.path}"))


def chexpert(folder: Path, findings: Sequence[str]) -> Iterator[ImageRow]:
    for split, name in (("train", "train.csv"), ("test", "valid.csv")):
        for row in _wide(_find(folder, name), {"path": "Path", "view": "Frontal/Lateral"}, findings):
            patient = re.search(r"/(patient\d+)/", row.path)
            if not patient:
                raise UserError(f"{row.where}: {row.path!r} names no patient, as the paths of CheXpert do")
            # CheXpert-v1.0/train/... or CheXpert-v1.0-small/train/...; `folder` may have any name.
            yield row._replace(path=row.path.partition("/")[2], patient=patient[1], split=split)


def vindr(folder: Path, findings: Sequence[str]) -> Iterator[ImageRow]:
    for split in ("train", "test"):
        name = f"image_labels_{split}.csv"
        file = _find(folder, f"annotations/{name}", name)
        first: dict[str, int] = {}
        readers: Counter[str] = Counter()
        votes: dict[str, Counter[str]] = defaultdict(Counter)
        for row in _wide(file, {"path": "image_id"}, findings):
            first.setdefault(row.path, row.number)
            readers[row.path] += 1
            votes[row.path].update(row.labels or ())
        for image, number in first.items():
            labels = [label for label, count in votes[image].items() if 2 * count > readers[image]]
            uncertain = [label for label in votes[image] if label not in labels]
            yield ImageRow(file, number, f"{split}/{image}.dicom", labels, uncertain, split=split)


def mimic(folder: Path, findings: Sequence[str]) -> Iterator[ImageRow]:
    def table(name: str) -> Path:
        return _find(folder, f"mimic-cxr-2.0.0-{name}.csv.gz", f"mimic-cxr-2.0.0-{name}.csv")

    studies = _wide(table("chexpert"), {"path": "study_id"}, findings)
    labels = {row.path: (tuple(row.labels or ()), tuple(row.uncertain)) for row in studies}
    splits = {image: split for _, (image, split) in table_rows(table("split"), ["dicom_id", "split"])}
    file = table("metadata")
    for number, cells in table_rows(file, ["dicom_id", "subject_id", "study_id", "ViewPosition"]):
        image, subject, study, view = cells
        if image not in splits:
            raise UserError(f"{place(file, number)}: {image} is not in {table('split').name}")
        path = f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg"
        found, uncertain = labels.get(study, (None, ()))
        yield ImageRow(file, number, path, found, uncertain, subject, splits[image], view)


def _find(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder}: has no {' or '.join(names)}; params.yaml: download.folder must name the folder of the "
        "data set, as it is published"
    )


def _labelled(
    file: Path, columns: dict[str, str], label: str, declared: Sequence[str] | str
) -> Iterator[ImageRow]:
    """A table with one label in a cell, or several separated by |. columns: by fields of `ImageRow`."""
    for number, cells in table_rows(file, [*columns.values(), label]):
        labels = [name for part in cells[-1].split("|") if (name := part.strip())]
        if declared != "any" and (strange := [name for name in labels if name not in declared]):
            raise UserError(
                f"{place(file, number)}: the label {strange[0]!r} is none of {', '.join(declared)}"
            )
        known = dict(zip(columns, cells[:-1], strict=True))
        yield ImageRow(file, number, labels=labels or None, **known)


def _wide(file: Path, columns: dict[str, str], findings: Sequence[str]) -> Iterator[ImageRow]:
    """A table with a column for each finding, named as in `findings`, in any case."""
    present = {name.casefold(): name for name in column_names(file)}
    of_findings = [present.get(name.casefold(), name) for name in findings]
    for number, cells in table_rows(file, [*columns.values(), *of_findings]):
        known = dict(zip(columns, cells, strict=False))
        labels, uncertain = [], []
        for name, value in zip(findings, cells[len(columns) :], strict=True):
            if value in PRESENT:
                labels.append(name)
            elif value in UNCERTAIN:
                uncertain.append(name)
            elif value.lower() not in ABSENT:
                raise UserError(f"{place(file, number)}: {name} is {value!r}; allowed: 1, 0, -1 or nothing")
        yield ImageRow(file, number, labels=labels, uncertain=uncertain, **known)
