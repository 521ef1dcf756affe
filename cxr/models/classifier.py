"""The released classifier: all members of the ensemble, the preprocessing of their input, and its files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from cxr.core.dataset import ImageRows, Reading
from cxr.core.device import Precision
from cxr.core.errors import UserError
from cxr.core.files import atomic, read_json, write_json
from cxr.core.outputs import missing_output
from cxr.models.backbones import build_backbone
from cxr.models.encoders.load import FrozenEncoder, build_encoder_network
from cxr.models.network import Network, binary_to_two_logits
from cxr.models.preprocess import Normalisation, Preprocess, augmented_copies, to_grey
from cxr.params import Model

WEIGHTS = Path("models/classifier.safetensors")
SPEC = Path("models/classifier.json")


@dataclass(frozen=True)
class Spec:
    """All that a classifier is built from, but for its weights.

    input_size, mean, std, normalisation: see `Preprocess`. hidden: units of a hidden layer in the head, 0 for
    none. logits: as many as outputs, or 1 for two outputs. outputs: names of a network's outputs, which are
    the classes, or sub-classes under decomposition. output_classes: for each output, the index of its class
    in `classes`. size: pixels a side of a stored image. tta: see `augmented_copies`. prior: the prevalence of
    each class that the networks assume because of their training (see `cxr.training.targets.Targets`).
    reading: how stored images were made from radiographs (see `cxr.data.reading`). precision: that of the
    training; predictions are in float32. encoder: the published encoder that is the backbone, None
    for other backbones.
    """

    backbone: str
    input_size: int
    mean: list[float]
    std: list[float]
    normalisation: Normalisation
    hidden: int
    dropout: float
    logits: int
    classes: list[str]
    outputs: list[str]
    output_classes: list[int]
    size: int
    tta: str
    members: int
    prior: list[float]
    reading: Reading
    precision: Precision
    encoder: FrozenEncoder | None

    @property
    def preprocess(self) -> Preprocess:
        resizing = (self.encoder.resized, self.encoder.interpolation) if self.encoder else ()
        return Preprocess(self.input_size, tuple(self.mean), tuple(self.std), self.normalisation, *resizing)

    @property
    def summing(self) -> np.ndarray:
        """(outputs, classes) float32 of 0 and 1: a matrix product sums the sub-classes of each class."""
        return np.eye(len(self.classes), dtype=np.float32)[self.output_classes]


@dataclass(frozen=True)
class Outputs:
    """probabilities: (members, N, classes) float32 in [0, 1], before calibration. embeddings: (N, d) float32,
    the members' features, each L2-normalised and concatenated, so that all members have the same weight.
    features: (N, d) float32, the same without the normalisation."""

    probabilities: np.ndarray
    embeddings: np.ndarray
    features: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(N, classes): the ensemble's probability (deep ensembles, https://arxiv.org/abs/1612.01474)."""
        return self.probabilities.mean(axis=0)


class Classifier(nn.Module):
    """An ensemble of networks with its preprocessing and test-time augmentation.

    members: `spec.members` networks of the architecture in `spec`.
    """

    summing: Tensor

    def __init__(self, spec: Spec, members: list[Network]) -> None:
        super().__init__()
        self.spec = spec
        self.members = nn.ModuleList(members)
        self.preprocess = spec.preprocess
        self.register_buffer("summing", torch.from_numpy(spec.summing), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """images: (N, size, size) uint8. Returns the fields of `Outputs`, float32."""
        copies = [self.preprocess(copy) for copy in augmented_copies(to_grey(images), self.spec.tta)]
        probabilities, averaged = [], []
        for member in self.members:
            assert isinstance(member, Network)  # for mypy: a ModuleList has no type of its items
            features = torch.stack([member.features(copy) for copy in copies])
            outputs = binary_to_two_logits(member.head(features)).softmax(dim=-1).mean(dim=0)
            probabilities.append(outputs @ self.summing)
            averaged.append(features.mean(dim=0))
        embeddings = [nn.functional.normalize(features, dim=-1) for features in averaged]
        return torch.stack(probabilities), torch.cat(embeddings, dim=1), torch.cat(averaged, dim=1)

    def with_tta(self, tta: str) -> "Classifier":
        """The same members with the test-time augmentation `tta` (see `augmented_copies`)."""
        return Classifier(replace(self.spec, tta=tta), [*self.members])


def build_member(spec: Spec, model: Model | None = None) -> Network:
    """A new network; its weights are drawn from PyTorch's global generator, or read from the file of a
    pretrained base where `model` names one.

    Raises `UserError` as `build_backbone` does.
    """
    if spec.encoder:
        base = build_encoder_network(spec.encoder.origin)
        return Network(base, spec.encoder.dimensions, spec.logits, spec.dropout)
    weights, sha256 = (model.weights, model.weights_sha256) if model else ("none", "none")
    backbone = build_backbone(
        spec.backbone, weights=weights, weights_sha256=sha256, size=spec.input_size, stored_size=spec.size
    )
    return Network(backbone.base, backbone.dimensions, spec.logits, spec.dropout, spec.hidden)


def batch_size(input_size: int) -> int:
    """Images in one batch of a prediction: the larger they are, the fewer, which limits the memory needed."""
    return max(32, min(512, 2**21 // input_size**2))


def predict(classifier: Classifier, images: np.ndarray | ImageRows, device: torch.device) -> Outputs:
    """The classifier's outputs on images, (N, size, size) uint8. Computed on `device` in batches, in float32
    unless autocast is on.

    Raises `UserError` if the images have another size than those that the classifier was trained on.
    """
    size = classifier.spec.size
    if images.shape[1:] != (size, size):
        sides = " x ".join(str(side) for side in images.shape[1:])
        raise UserError(f"images are {sides} pixels, the classifier takes {size} x {size}")
    classifier = classifier.to(device).to(memory_format=torch.channels_last).eval()
    batch = batch_size(classifier.spec.input_size)
    with torch.inference_mode():
        parts = [
            classifier(torch.from_numpy(np.array(images[start : start + batch])).to(device))
            for start in range(0, len(images), batch)
        ]
    of_members, *of_ensemble = zip(*parts, strict=True)
    outputs = [torch.cat(of_members, dim=1), *map(torch.cat, of_ensemble)]
    return Outputs(*(output.float().cpu().numpy() for output in outputs))


def embed_images(
    classifier: Classifier, images: np.ndarray | ImageRows, device: torch.device, normalised: bool = True
) -> np.ndarray:
    """(N, d) float32: the embeddings of `predict`, for the search of similar images; its features if not
    `normalised`.

    images: (N, size, size) uint8. Without zoomed copies, which take three times as long and improve the
    neighbours little.
    """
    tta = "flip" if classifier.spec.tta == "flip_zoom" else classifier.spec.tta
    outputs = predict(classifier.with_tta(tta), images, device)
    return outputs.embeddings if normalised else outputs.features


def save_members(spec: Spec, states: Sequence[Mapping[str, Tensor]]) -> None:
    """Write the classifier whose members have these state dicts, without building it."""
    state = {
        f"members.{number}.{name}": tensor.detach().cpu().contiguous()
        for number, member in enumerate(states)
        for name, tensor in member.items()
    }
    with atomic(WEIGHTS) as temporary:
        temporary.write_bytes(to_bytes(state))
    write_json(SPEC, asdict(spec))


def load_classifier(weights: Path = WEIGHTS) -> Classifier:
    """The saved classifier on the CPU, in evaluation mode. weights: as the stage train writes them, with a
    file of the same name and the suffix .json beside it.

    Raises `UserError` if there is none, or if another version of the code saved it.
    """
    description = weights.with_suffix(SPEC.suffix)
    for path in (weights, description):
        if not path.is_file():
            raise missing_output(path, "model")
    spec = load_spec(description)
    classifier = Classifier(spec, [build_member(spec) for _ in range(spec.members)])
    classifier.load_state_dict(load_file(weights))
    return classifier.eval()


def load_spec(path: Path) -> Spec:
    """Raises `UserError` if another version of the code, whose `Spec` has other fields, wrote the file."""
    content, expected = read_json(path), {field.name for field in fields(Spec)}
    if content.keys() != expected:
        differing = [f"no {name}" for name in sorted(expected - content.keys())]
        differing += [f"an unknown {name}" for name in sorted(content.keys() - expected)]
        raise UserError(
            f"{path}: written by another version of this code (it has {', '.join(differing)}); build it "
            "again with `dvc repro`, or restore that of this commit with `dvc checkout`"
        )
    encoder = content["encoder"] and FrozenEncoder(**content["encoder"])
    return Spec(**content | {"encoder": encoder})
