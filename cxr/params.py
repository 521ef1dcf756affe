"""params.yaml as checked, typed sections: `load().train.lr` is a float within its limits.

Unknown and missing keys, wrong types and impossible values raise `UserError` with one line that names
the key, its value and what is allowed. The file is read as YAML 1.2, since DVC writes 1e-5 as `1e-05`,
which a YAML 1.1 reader takes for a string.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxr.core.errors import UserError
from cxr.schema import Form, Limits, section

PATH = Path("params.yaml")

Probability = Annotated[float, Limits(0, 1)]
Fraction = Annotated[float, Limits(0, 1, below=True)]
Count = Annotated[int, Limits(1)]
Seed = Annotated[int, Limits(0, 2**32 - 1)]


@dataclass(frozen=True)
class Compute:
    device: Literal["auto", "cpu", "cuda"]
    threads: Annotated[int, Limits(1, 256)]


@dataclass(frozen=True)
class Download:
    source: Literal["pneumoniamnist", "chest_xray_pneumonia", "chest_xray_3class", "folder", "phantom"]
    size: Annotated[int, Limits(16, 1024)]
    folder: str


@dataclass(frozen=True)
class Phantom:
    images: Annotated[int, Limits(60, 1_000_000)]
    classes: Annotated[int, Limits(2, 3)]
    seed: Seed


@dataclass(frozen=True)
class Ratios:
    train: Annotated[float, Limits(0, 1, above=True, below=True)]
    val: Annotated[float, Limits(0, 1, above=True, below=True)]
    test: Annotated[float, Limits(0, 1, above=True, below=True)]


@dataclass(frozen=True)
class Split:
    method: Literal["published", "stratified"]
    ratios: Ratios
    by_patient: bool
    seed: Seed
    drop_duplicates: bool


@dataclass(frozen=True)
class ClipEmbed:
    encoder: Annotated[
        str,
        Form(
            r"pixels|open_clip:[^/\s]+/[^/\s]+|torchvision:[^/:\s]+|[^/:\s]+/[^/:\s]+",
            "pixels, a Hugging Face id such as openai/clip-vit-base-patch32, open_clip:<model>/<pretrained> "
            "or torchvision:<name>",
        ),
    ]
    revision: Annotated[str, Form(r"\S+", "a branch, tag or commit")]
    dimensions: Annotated[int, Limits(2, 4096)]
    precision: Literal["bf16", "float32"]


@dataclass(frozen=True)
class Cluster:
    classes: Literal["majority", "all"] | list[str]
    k: Annotated[int, Limits(2, 100)] | Literal["auto"]
    k_max: Annotated[int, Limits(2, 100)]


@dataclass(frozen=True)
class Imbalance:
    strategy: Literal["none", "class_weights", "sampler", "focal", "logit_adjustment", "decompose", "both"]
    class_weights: Literal["balanced", "inverse"] | list[Annotated[float, Limits(0, above=True)]]
    focal_gamma: Annotated[float, Limits(0, above=True)]


@dataclass(frozen=True)
class Model:
    backbone: Annotated[
        str,
        Form(
            r"[a-z0-9_]+|timm:\S+",
            "compact_cnn, small_cnn, resnet18_28, a classifier of torchvision such as efficientnet_b0, "
            "or timm:<name>",
        ),
    ]
    weights: Annotated[str, Form(r"none|imagenet|file:[^/\s]+", "none, imagenet or file:<name>")]
    weights_sha256: Annotated[str, Form(r"none|[0-9a-f]{64}", "none, or 64 hexadecimal digits")]
    input_size: Annotated[int, Limits(16, 1024)] | Literal["auto"]
    hidden: Annotated[int, Limits(0, 65536)]
    dropout: Fraction
    tta: Literal["none", "flip", "flip_zoom"]


@dataclass(frozen=True)
class Augment:
    crop: Annotated[float, Limits(0, 1, above=True)]
    rotation: Annotated[float, Limits(0, 180)]
    scale: Fraction
    shift: Fraction
    flip: Probability
    gamma: Annotated[float, Limits(0, 3)]
    contrast: Fraction
    brightness: Fraction
    noise: Fraction
    erasing: Fraction
    views: Annotated[int, Limits(1, 1000)]


Trainable = Literal["all", "head"] | list[str]
Optimiser = Literal["adamw", "adam", "sgd"]
ScheduleName = Literal["one_cycle", "cosine", "plateau", "step", "none"]


@dataclass(frozen=True)
class Train:
    members: Annotated[int, Limits(1, 100)]
    trainable: Trainable
    epochs: Count
    batch_size: Annotated[int, Limits(2)]
    loss: Literal["cross_entropy", "bce"]
    label_smoothing: Fraction
    mixup: Annotated[float, Limits(0)]
    optimiser: Optimiser
    lr: Annotated[float, Limits(0, above=True)]
    weight_decay: Annotated[float, Limits(0)]
    schedule: ScheduleName
    factor: Annotated[float, Limits(0, 1, above=True, below=True)]
    patience: Count
    select: Literal["last", "ema", "val_nll", "val_auc", "val_accuracy"]
    early_stopping: Annotated[int, Limits(0)]
    precision: Literal["bf16", "float32"]


@dataclass(frozen=True)
class Finetune:
    """The second phase: what it leaves out is as in `Train`."""

    epochs: Annotated[int, Limits(0)]
    trainable: Trainable
    optimiser: Optimiser
    lr: Annotated[float, Limits(0, above=True)]
    weight_decay: Annotated[float, Limits(0)]
    schedule: ScheduleName


Prevalence = Annotated[float, Limits(0, 1, above=True, below=True)] | Literal["train", "uniform"]


@dataclass(frozen=True)
class Calibrate:
    prevalence: Prevalence
    threshold: (
        Annotated[float, Limits(0, 1, above=True, below=True)]
        | Literal["youden", "sensitivity", "specificity"]
    )
    target: Annotated[float, Limits(0, 1, above=True)]


@dataclass(frozen=True)
class Evaluate:
    bootstrap: Annotated[int, Limits(100, 100_000)]
    prevalence: Prevalence


@dataclass(frozen=True)
class Index:
    embedding: Literal["classifier", "clip"]
    metric: Literal["cosine", "l2"]
    kind: Literal["auto", "flat", "ivf", "hnsw"]
    val: bool


@dataclass(frozen=True)
class Report:
    writer: Annotated[
        str,
        Form(
            r"none|template|[^/:\s]+/[^/:\s]+",
            "none, template or a Hugging Face id such as google/medgemma-4b-it",
        ),
    ]
    revision: Annotated[str, Form(r"\S+", "a branch, tag or commit")]
    quantisation: Literal["none", "nf4"]
    cases: Annotated[int, Limits(1, 1000)]


@dataclass(frozen=True)
class Params:
    seed: Seed
    compute: Compute
    download: Download
    phantom: Phantom
    split: Split
    clip_embed: ClipEmbed
    cluster: Cluster
    imbalance: Imbalance
    model: Model
    augment: Augment
    train: Train
    finetune: Finetune
    calibrate: Calibrate
    evaluate: Evaluate
    index: Index
    report: Report


def load(path: Path = PATH, blame: Path | None = None) -> Params:
    """Read and check `path`. Raises `UserError` for the first mistake found; it names `blame` as the file."""
    try:
        tree = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the repository's root") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: not valid YAML{where}; compare it with `git diff {path}`") from None
    params: Params = section(Params, tree, "", blame or path)
    _check_together(params, blame or path)
    return params


def _check_together(params: Params, path: Path) -> None:
    ratios = params.split.ratios
    total = ratios.train + ratios.val + ratios.test
    if abs(total - 1) > 1e-6:
        raise UserError(f"{path}: split.ratios add up to {total:g}; train, val and test must add up to 1")
