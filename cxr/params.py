"""params.yaml as checked, typed sections: `load().train.lr` is a float within its limits.

Unknown and missing keys, wrong types and impossible values raise `UserError` with one line that names
the key, its value and what is allowed. The file is read as YAML 1.2, since DVC writes 1e-5 as `1e-05`,
which a YAML 1.1 reader takes for a string.
"""

import math
import re
import types
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxr.errors import UserError

PATH = Path("params.yaml")
LARGEST = 1e300


@dataclass(frozen=True)
class Limits:
    """Numbers from `low` to `high`, either end excluded if the matching flag is set."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def allow(self, value: float) -> bool:
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        if math.isinf(self.high):
            return low
        high = f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        return f"{low} and {high}"


@dataclass(frozen=True)
class Form:
    """Text that matches `pattern` as a whole; `meaning` says so to people."""

    pattern: str
    meaning: str

    def allow(self, value: str) -> bool:
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.meaning


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
    source: Literal["pneumoniamnist", "folder", "phantom"]
    size: Annotated[int, Limits(16, 1024)]
    folder: str


@dataclass(frozen=True)
class Phantom:
    images: Annotated[int, Limits(60, 1_000_000)]
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
    strategy: Literal["none", "class_weights", "decompose", "both"]


@dataclass(frozen=True)
class Model:
    backbone: Literal["compact_cnn"]
    dropout: Fraction
    flip_tta: bool


@dataclass(frozen=True)
class Augment:
    rotation: Annotated[float, Limits(0, 180)]
    scale: Fraction
    shift: Fraction
    flip: Probability
    gamma: Annotated[float, Limits(0, 3)]
    contrast: Fraction
    brightness: Fraction
    noise: Fraction
    erasing: Fraction


@dataclass(frozen=True)
class Train:
    members: Annotated[int, Limits(1, 100)]
    epochs: Count
    batch_size: Annotated[int, Limits(2)]
    lr: Annotated[float, Limits(0, above=True)]
    weight_decay: Annotated[float, Limits(0)]
    label_smoothing: Fraction
    precision: Literal["bf16", "float32"]


@dataclass(frozen=True)
class Calibrate:
    threshold: Annotated[float, Limits(0, 1, above=True, below=True)] | Literal["youden"]


@dataclass(frozen=True)
class Evaluate:
    bootstrap: Annotated[int, Limits(100, 100_000)]


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
    calibrate: Calibrate
    evaluate: Evaluate


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
    params: Params = _section(Params, tree, "", blame or path)
    _check_together(params, blame or path)
    return params


def _check_together(params: Params, path: Path) -> None:
    ratios = params.split.ratios
    total = ratios.train + ratios.val + ratios.test
    if abs(total - 1) > 1e-6:
        raise UserError(f"{path}: split.ratios add up to {total:g}; train, val and test must add up to 1")


def _section(cls: Any, tree: Any, prefix: str, path: Path) -> Any:
    names = [field.name for field in fields(cls)]
    if not isinstance(tree, dict):
        raise UserError(f"{path}: {prefix or 'the file'} must be a section with the keys {', '.join(names)}")
    dot = f"{prefix}." if prefix else ""
    for key in tree:
        if key not in names:
            raise UserError(f"{path}: unknown key {dot}{key}; allowed here: {', '.join(names)}")
    for name in names:
        if name not in tree:
            raise UserError(f"{path}: missing key {dot}{name}; `git diff {path}` shows what was removed")
    hints = get_type_hints(cls, include_extras=True)
    return cls(**{name: _value(hints[name], tree[name], dot + name, path) for name in names})


def _value(hint: Any, value: Any, key: str, path: Path) -> Any:
    if is_dataclass(hint):
        return _section(hint, value, key, path)
    alternatives = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for alternative in alternatives:
        found, result = _match(alternative, value)
        if found:
            return result
    allowed = " or ".join(_describe(alternative) for alternative in alternatives)
    raise UserError(f"{path}: {key} is {value!r}; allowed: {allowed}")


def _match(hint: Any, value: Any) -> tuple[bool, Any]:
    """Whether `value` fits `hint`, and the value as that type (an int becomes a float where one is due)."""
    if get_origin(hint) is Annotated:
        base, limits = get_args(hint)
        found, result = _match(base, value)
        return found and limits.allow(result), result
    if get_origin(hint) is Literal:
        return type(value) is str and value in get_args(hint), value
    if get_origin(hint) is list:
        return isinstance(value, list) and bool(value) and all(type(v) is str for v in value), value
    if hint is float:
        number = type(value) in (int, float) and -LARGEST <= value <= LARGEST  # so not NaN or infinite
        return number, float(value) if number else value
    return type(value) is hint, value


def _describe(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        base, limits = get_args(hint)
        return str(limits) if base is str else f"{_describe(base)} {limits}"
    if get_origin(hint) is Literal:
        return ", ".join(get_args(hint))
    if get_origin(hint) is list:
        return "a list of names"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[hint]
