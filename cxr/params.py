"""params.yaml as checked, typed sections: `load_params().train.lr` is a float within its limits.

Unknown and missing keys, wrong types and values out of range raise `UserError` with one line that names the
key, its value and what is allowed. The file is read as YAML 1.2, since DVC writes 1e-5 as `1e-05`, which is a
string in YAML 1.1.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxr.core.checked import Section, check_section
from cxr.core.errors import UserError

PATH = Path("params.yaml")

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Names = Annotated[list[str], Field(min_length=1)]


def form(pattern: str, meaning: str) -> Any:
    """Text that matches `pattern` as a whole. meaning: what is allowed, in words for errors and editors."""
    return Field(pattern=f"^(?:{pattern})$", json_schema_extra={"patternErrorMessage": meaning})


Commit = Annotated[str, form(r"\S+", "a branch, tag or commit")]


class Compute(Section):
    device: Literal["auto", "cpu", "cuda"]
    threads: Annotated[int, Field(ge=1, le=256)]
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"]


class Download(Section):
    source: (
        Literal["pneumoniamnist", "chest_xray_pneumonia", "chest_xray_3class", "folder", "table", "phantom"]
        | Annotated[str, form(r"medmnist:[a-z0-9]+", "medmnist:<name>, such as medmnist:organamnist")]
    )
    size: Annotated[int, Field(ge=16, le=1024)]
    folder: str
    patients: str


class Columns(Section):
    path: str
    label: str
    patient: str
    split: str
    view: str


class Table(Section):
    layout: Literal["own", "nih", "chexpert", "vindr", "mimic"]
    file: str
    columns: Columns
    labels: Literal["any"] | Names
    positive: str
    negative: str
    others: Literal["leave_out", "negative"]
    uncertain: Literal["ignore", "ones", "zeros"]
    views: Literal["all"] | Names
    max_broken: Fraction


class Phantom(Section):
    images: Annotated[int, Field(ge=60, le=1_000_000)]
    classes: Annotated[int, Field(ge=2, le=3)]
    seed: Seed


class Ratios(Section):
    train: Share
    val: Share
    test: Share


class Split(Section):
    method: Literal["published", "stratified", "stratified_train"]
    ratios: Ratios
    by_patient: bool
    seed: Seed
    drop_duplicates: bool


class ClipEmbed(Section):
    encoder: Annotated[
        str,
        form(
            r"pixels|open_clip:(hf-hub:)?[^/:\s]+/[^/:\s]+|torchvision:[^/:\s]+|timm:[^/:\s]+"
            r"|classifier:\S+|[^/:\s]+/[^/:\s]+",
            "pixels, a Hugging Face id such as microsoft/rad-dino, open_clip:<model>/<pretrained>, "
            "open_clip:hf-hub:<Hugging Face id>, timm:<name>, torchvision:<name> or classifier:<file>",
        ),
    ]
    revision: Commit
    pooling: Literal["auto", "pooler", "cls", "mean"]
    dimensions: Annotated[int, Field(ge=2, le=4096)]
    precision: Literal["bf16", "float32"]


class Cluster(Section):
    classes: Literal["majority", "all"] | Names
    k: Annotated[int, Field(ge=2, le=100)] | Literal["auto"]
    k_max: Annotated[int, Field(ge=2, le=100)]


class Imbalance(Section):
    strategy: Literal["none", "class_weights", "sampler", "focal", "logit_adjustment", "decompose", "both"]
    class_weights: Literal["balanced", "inverse"] | Annotated[list[Positive], Field(min_length=1)]
    focal_gamma: Positive
    conflicting: Annotated[float, Field(ge=1)]


class Model(Section):
    backbone: Annotated[
        str,
        form(
            r"[a-z0-9_]+|timm:\S+",
            "compact_cnn, small_cnn, resnet18_28, a classifier of torchvision such as efficientnet_b0, "
            "timm:<name>, or encoder",
        ),
    ]
    weights: Annotated[str, form(r"none|imagenet|file:[^/\s]+", "none, imagenet or file:<name>")]
    weights_sha256: Annotated[str, form(r"none|[0-9a-f]{64}", "none, or 64 hexadecimal digits")]
    input_size: Annotated[int, Field(ge=16, le=1024)] | Literal["auto"]
    normalisation: Literal["train", "image", "local"]
    hidden: Annotated[int, Field(ge=0, le=65536)]
    dropout: Fraction
    tta: Literal["none", "flip", "flip_zoom"]


class Augment(Section):
    resolution: Literal["stored", "input"]
    crop: Annotated[float, Field(gt=0, le=1)]
    rotation: Annotated[float, Field(ge=0, le=180)]
    scale: Fraction
    shift: Fraction
    flip: Probability
    gamma: Annotated[float, Field(ge=0, le=3)]
    contrast: Fraction
    brightness: Fraction
    blur: Fraction
    noise: Fraction
    jpeg: Annotated[int, Field(ge=1, le=100)]
    erasing: Fraction
    views: Annotated[int, Field(ge=0, le=1000)]


Trainable = Literal["all", "head"] | Names
Optimiser = Literal["adamw", "adam", "sgd"]
ScheduleName = Literal["one_cycle", "cosine", "plateau", "step", "none"]


class Train(Section):
    members: Annotated[int, Field(ge=1, le=100)]
    processes: Annotated[int, Field(ge=1, le=1024)]
    trainable: Trainable
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    loss: Literal["cross_entropy", "bce"]
    label_smoothing: Fraction
    mixup: Annotated[float, Field(ge=0)]
    optimiser: Optimiser
    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: ScheduleName
    factor: Share
    patience: Count
    select: Literal["last", "ema", "val_nll", "val_auc", "val_accuracy"]
    early_stopping: Annotated[int, Field(ge=0)]
    precision: Literal["auto", "bf16", "float32"]


class Finetune(Section):
    """The second phase of training; settings that are not listed are those of `Train`."""

    epochs: Annotated[int, Field(ge=0)]
    trainable: Trainable
    optimiser: Optimiser
    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: ScheduleName


Prevalence = Share | Literal["train", "uniform"]


class Calibrate(Section):
    prevalence: Prevalence
    threshold: Share | Literal["youden", "sensitivity", "specificity"]
    target: Annotated[float, Field(gt=0, le=1)]


class Evaluate(Section):
    bootstrap: Annotated[int, Field(ge=100, le=100_000)]
    prevalence: Prevalence


class Index(Section):
    embedding: Literal["classifier", "encoder"]
    metric: Literal["cosine", "l2"]
    kind: Literal["auto", "flat", "ivf", "hnsw"]
    gallery: Literal["train", "train_val", "test"]


class Report(Section):
    writer: Annotated[
        str,
        form(
            r"none|template|[^/:\s]+/[^/:\s]+",
            "none, template or a Hugging Face id such as google/medgemma-4b-it",
        ),
    ]
    revision: Commit
    quantisation: Literal["none", "nf4"]
    allocator: Literal["default", "expandable_segments"]
    cases: Annotated[int, Field(ge=1, le=1000)]
    sample: Literal["stratified", "errors_first"]


class Params(Section):
    seed: Seed
    compute: Compute
    download: Download
    table: Table
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


def load_params(path: Path = PATH, blame: Path | None = None) -> Params:
    """Read and check `path`. Raises `UserError` for the first mistake found; it names `blame` as the file."""
    try:
        tree = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the repository's root") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: not valid YAML{where}; compare it with `git diff {path}`") from None
    params = check_section(Params, tree, blame or path)
    _check_together(params, blame or path)
    return params


def _check_together(params: Params, path: Path) -> None:
    ratios = params.split.ratios
    total = ratios.train + ratios.val + ratios.test
    if abs(total - 1) > 1e-6:
        raise UserError(f"{path}: split.ratios add up to {total:g}; train, val and test must add up to 1")
