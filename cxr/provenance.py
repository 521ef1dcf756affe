"""What has to be known of the films of each `download.source`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """limits: what a classifier of these films cannot show."""

    name: str
    licence: str
    limits: str


SOURCES = {
    "pneumoniamnist": Source(
        "PneumoniaMNIST (MedMNIST v2, https://doi.org/10.1038/s41597-022-01721-8), films of Kermany et al., "
        "https://doi.org/10.1016/j.cell.2018.02.010",
        "CC BY 4.0",
        "Films of children from one hospital, shrunk to a few pixels. Its val split shares patients with "
        "train and is optimistic, and so is everything chosen on it; its test split does not.",
    ),
    "chest_xray_pneumonia": Source(
        "Kaggle's paultimothymooney/chest-xray-pneumonia, films of Kermany et al., "
        "https://doi.org/10.1016/j.cell.2018.02.010",
        "CC BY 4.0",
        "Films of children from one hospital. Val is cut from train by patient.",
    ),
    "chest_xray_3class": Source(
        "Kaggle's muhammadrehan00/chest-xray-dataset, a compilation",
        "see its page",
        "Class and source go together (pneumonia is children, tuberculosis adults): a classifier may learn "
        "the source, and no accuracy on it says anything about patients.",
    ),
    "folder": Source(
        "your own films, from download.folder", "yours to say", "Nobody has described these films here."
    ),
    "phantom": Source(
        "synthetic films, drawn by the pipeline",
        "MIT, as the code",
        "Nothing here says anything about patients.",
    ),
}
