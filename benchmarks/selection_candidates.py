"""The candidates of `benchmarks.training_selection`: changes to params.yaml, by section.

"before" is the default as it was before the selection; every other candidate changes it.
"""

from collections.abc import Mapping
from typing import Any

Changes = Mapping[str, Mapping[str, Any]]

BEFORE: Changes = {
    "imbalance": {"strategy": "class_weights", "class_weights": "balanced", "conflicting": 1.0},
    "model": {"backbone": "compact_cnn", "normalisation": "train", "dropout": 0.3, "tta": "flip"},
    "augment": {
        "crop": 1.0,
        "rotation": 10.0,
        "scale": 0.15,
        "shift": 0.1,
        "flip": 0.5,
        "gamma": 0.2,
        "contrast": 0.2,
        "brightness": 0.1,
        "blur": 0.0,
        "noise": 0.0,
        "jpeg": 100,
        "erasing": 0.0,
    },
    "train": {
        "mixup": 0.0, "label_smoothing": 0.05, "lr": 0.003, "weight_decay": 0.05, "select": "last",
    },
}  # fmt: skip


def photometric(width: float) -> dict[str, float]:
    return {"gamma": width, "contrast": width, "brightness": width}


def model(**values: Any) -> Changes:
    return {"model": values}


def augment(**values: Any) -> Changes:
    return {"augment": values}


def train(**values: Any) -> Changes:
    return {"train": values}


def together(*changes: Changes) -> Changes:
    sections = dict.fromkeys(section for change in changes for section in change)
    return {s: {k: v for change in changes for k, v in change.get(s, {}).items()} for s in sections}


MEDIUM, STRONG = augment(**photometric(0.5)), augment(**photometric(0.9))
DIMMER = augment(gamma=0.5, contrast=0.5, brightness=0.2)
IMAGE, LOCAL = model(normalisation="image"), model(normalisation="local")
DEGRADED = augment(blur=0.04, noise=0.1, jpeg=10)
WEAKLY = augment(blur=0.02, noise=0.04, jpeg=40)
RESIDUAL = model(backbone="compact_resnet")
# After Just Train Twice (Liu et al., 2021, https://arxiv.org/abs/2107.09044).
OFTEN: Changes = {"imbalance": {"conflicting": 4.0}}
ZOOM = augment(scale=0.5)
ERASING = augment(erasing=0.4)
MIXUP = train(mixup=0.3)

CANDIDATES: dict[str, Changes] = {
    "before": {},
    # one at a time
    "photometric .5": MEDIUM,
    "photometric .9": STRONG,
    "per-image normalisation": IMAGE,
    "local normalisation": LOCAL,
    "blur, noise, JPEG": DEGRADED,
    "zoom .5 to 1.5": ZOOM,
    "crop .5": augment(crop=0.5),
    "erasing .4": ERASING,
    "mixup .3": MIXUP,
    "moving average": train(select="ema"),
    "label smoothing 0": train(label_smoothing=0.0),
    "label smoothing .1": train(label_smoothing=0.1),
    "no class weights": {"imbalance": {"strategy": "none"}},
    "residual net": RESIDUAL,
    "wider net": model(backbone="compact_cnn_wide"),
    "conflicting x 4": OFTEN,
    "four groups alike": {},  # see GROUPS_ALIKE
    # combined
    "image, photometric .5": together(IMAGE, MEDIUM),
    "local, photometric .5": together(LOCAL, MEDIUM),
    "photometric .5, degraded": together(MEDIUM, DEGRADED),
    "photometric .5, erasing .4": together(MEDIUM, ERASING),
    "photometric .5, degraded, erasing .4": together(MEDIUM, DEGRADED, ERASING),
    "photometric .5, degraded, erasing .4, mixup .3": together(MEDIUM, DEGRADED, ERASING, MIXUP),
    "image, photometric .5, degraded, erasing .4": together(IMAGE, MEDIUM, DEGRADED, ERASING),
    # combined, after the table of one seed of the above
    "photometric .5, erasing .4, conflicting x 4": together(MEDIUM, ERASING, OFTEN),
    "photometric .5, erasing .4, weakly degraded": together(MEDIUM, ERASING, WEAKLY),
    "photometric .5, erasing .4, weakly degraded, conflicting x 4": together(MEDIUM, ERASING, WEAKLY, OFTEN),
    "image, photometric .5, erasing .4, weakly degraded": together(IMAGE, MEDIUM, ERASING, WEAKLY),
    "residual net, photometric .5, erasing .4": together(RESIDUAL, MEDIUM, ERASING),
    "residual net, photometric .5, erasing .4, weakly degraded": together(RESIDUAL, MEDIUM, ERASING, WEAKLY),
}
# Around the candidate that was chosen first, after its one reading of test (docs/test_ledger.md).
LATER: dict[str, Changes] = {
    "gamma, contrast .5, brightness .2, erasing .4, conflicting x 4": together(DIMMER, ERASING, OFTEN),
    "image, gamma, contrast .5, brightness .2, erasing .4, conflicting x 4": together(
        IMAGE, DIMMER, ERASING, OFTEN
    ),
    "image, gamma, contrast .5, brightness .2, erasing .4, weakly degraded, conflicting x 4": together(
        IMAGE, DIMMER, ERASING, WEAKLY, OFTEN
    ),
    "image, photometric .5, erasing .4, weakly degraded, conflicting x 4": together(
        IMAGE, MEDIUM, ERASING, WEAKLY, OFTEN
    ),
}

# Class and shortcut (right or wrong) make four groups, each drawn equally often, which reaches what group DRO
# does (Idrissi et al., 2022, https://arxiv.org/abs/2110.14503).
GROUPS_ALIKE = ("four groups alike",)
