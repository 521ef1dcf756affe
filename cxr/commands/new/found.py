"""The images that the stage download would read, by the parameters that `cxr new` proposes."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cxr.core.dataset import class_order
from cxr.data.own_folder import list_folder
from cxr.data.table.listing import list_images
from cxr.params import Params


@dataclass(frozen=True)
class Found:
    """paths: below `folder`, in order. classes, splits, patients: of each, "" where it is unknown. left_out:
    how many rows of a table are not used, by reason."""

    folder: Path
    paths: list[str]
    classes: list[str]
    splits: list[str]
    patients: list[str]
    left_out: Counter[str]

    def counts(self, split: str = "") -> dict[str, int]:
        """Images of each class, in the order of labels, in one split or in all."""
        of = zip(self.classes, self.splits, strict=True)
        count = Counter(name for name, of_split in of if split in ("", of_split))
        return {name: count[name] for name in class_order(self.classes)}


def find_images(params: Params) -> Found:
    """Of source folder or table. Raises `UserError` for what the stage download would stop at before it reads
    the first image."""
    folder = Path(params.download.folder)
    if params.download.source == "table":
        table = list_images(params.table, folder)
        return Found(folder, table.paths, table.classes, table.splits, table.patients, table.left_out)
    files, patients = list_folder(folder)
    return Found(
        folder,
        [file.path.relative_to(folder).as_posix() for file in files],
        [file.category for file in files],
        [file.split for file in files],
        patients,
        Counter(),
    )
