"""What has to be known of the radiographs of each `download.source`; the stage split writes it down."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """licence_id: as in https://huggingface.co/docs/hub/repositories-licenses. hub_id: of the same images on
    Hugging Face, None if they are not there. limits: what a classifier of these images cannot show."""

    name: str
    description: str
    licence: str
    licence_id: str
    hub_id: str | None
    limits: str


SOURCES = {
    "pneumoniamnist": Source(
        "PneumoniaMNIST",
        "MedMNIST v2, https://doi.org/10.1038/s41597-022-01721-8; radiographs of Kermany et al., "
        "https://doi.org/10.1016/j.cell.2018.02.010",
        "CC BY 4.0",
        "cc-by-4.0",
        "albertvillanova/medmnist-v2",
        "Radiographs of children from one hospital, shrunk to a few pixels. Its val split shares patients with "
        "train and is optimistic, and so is everything chosen on it; its test split does not.",
    ),
    "chest_xray_pneumonia": Source(
        "Chest X-Ray Images (Pneumonia)",
        "Kaggle's paultimothymooney/chest-xray-pneumonia; radiographs of Kermany et al., "
        "https://doi.org/10.1016/j.cell.2018.02.010",
        "CC BY 4.0",
        "cc-by-4.0",
        "hf-vision/chest-xray-pneumonia",
        "Radiographs of children from one hospital. Val is cut from train by patient.",
    ),
    "chest_xray_3class": Source(
        "Chest X-Ray Dataset",
        "Kaggle's muhammadrehan00/chest-xray-dataset, a compilation of other collections",
        "see its page on Kaggle",
        "unknown",
        None,
        "Class and source go together (pneumonia is children, tuberculosis adults): a classifier may learn "
        "the source, and no accuracy on it says anything about patients.",
    ),
    "folder": Source(
        "Local images",
        "the folder `download.folder`",
        "not stated",
        "unknown",
        None,
        "Nobody has described these radiographs here.",
    ),
    "phantom": Source(
        "Phantoms",
        "synthetic radiographs, drawn by the pipeline",
        "MIT, as the code",
        "mit",
        None,
        "Nothing here says anything about patients.",
    ),
}
