"""The released classifier: all members of the ensemble, what they need to read an image, and its files."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from cxr.core.errors import UserError
from cxr.core.files import atomic, read_json, write_json
from cxr.models.backbones import build_backbone
from cxr.models.network import Network, binary_to_two_logits
from cxr.models.preprocess import Preprocess, augmented_copies, to_grey
from cxr.params import Model

WEIGHTS = Path("models/classifier.safetensors")
SPEC = Path("models/classifier.json")


@dataclass(frozen=True)
class Spec:
    """What rebuilds a classifier around its weights.

    input_size, mean, std: see `Preprocess`. hidden: units of a hidden layer in the head, 0 for none. logits:
    as many as outputs, or 1 for two. outputs: names of what a network tells apart, sub-classes under
    decomposition. output_classes: the index into `classes` that each belongs to. size: pixels a side of a
    stored image. tta: see `test_views`. prior: of each class, the prevalence that training has taught the
    networks to take for granted (see `cxr.training.targets.Targets`).
    """

    backbone: str
    input_size: int
    mean: list[float]
    std: list[float]
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

    @property
    def preprocess(self) -> Preprocess:
        return Preprocess(self.input_size, tuple(self.mean), tuple(self.std))

    @property
    def summing(self) -> np.ndarray:
        """(outputs, classes) float32 of 0 and 1: a matrix product sums the sub-classes of each class."""
        return np.eye(len(self.classes), dtype=np.float32)[self.output_classes]


@dataclass(frozen=True)
class Outputs:
    """probabilities: (members, N, classes) float32, before calibration. embeddings: (N, d) float32, each
    member's features L2-normalised and put side by side, so that all members weigh the same."""

    probabilities: np.ndarray
    embeddings: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(N, classes): the ensemble's probability (deep ensembles, https://arxiv.org/abs/1612.01474)."""
        return self.probabilities.mean(axis=0)


class Classifier(nn.Module):
    summing: Tensor

    def __init__(self, spec: Spec, members: list[Network]) -> None:
        super().__init__()
        self.spec = spec
        self.members = nn.ModuleList(members)
        self.preprocess = spec.preprocess
        self.register_buffer("summing", torch.from_numpy(spec.summing), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (N, size, size) uint8. Returns (members, N, classes) probabilities, (N, d) embeddings."""
        views = [self.preprocess(view) for view in augmented_copies(to_grey(images), self.spec.tta)]
        probabilities, embeddings = [], []
        for member in self.members:
            assert isinstance(member, Network)  # a ModuleList does not know what it holds
            features = torch.stack([member.features(view) for view in views])
            fine = binary_to_two_logits(member.head(features)).softmax(dim=-1).mean(dim=0)
            probabilities.append(fine @ self.summing)
            embeddings.append(nn.functional.normalize(features.mean(dim=0), dim=-1))
        return torch.stack(probabilities), torch.cat(embeddings, dim=1)

    def with_tta(self, tta: str) -> "Classifier":
        """The same members with the test-time augmentation `tta` (see `test_views`)."""
        return Classifier(replace(self.spec, tta=tta), [*self.members])


def build_member(spec: Spec, model: Model | None = None) -> Network:
    """A freshly initialised network; its weights are drawn from PyTorch's global generator, but for those
    that `model` asks to start from."""
    weights, sha256 = (model.weights, model.weights_sha256) if model else ("none", "none")
    backbone = build_backbone(
        spec.backbone, weights=weights, weights_sha256=sha256, size=spec.input_size, stored_size=spec.size
    )
    return Network(backbone.base, backbone.dimensions, spec.logits, spec.dropout, spec.hidden)


def batch_size(input_size: int) -> int:
    """Images in one batch of a prediction: fewer large ones, so that memory stays bounded."""
    return max(32, min(512, 2**21 // input_size**2))


def predict(classifier: Classifier, images: np.ndarray, device: torch.device) -> Outputs:
    """images: (N, size, size) uint8. On `device`, a batch at a time, in float32 unless autocast is on.

    Raises `UserError` if the images have another size than the classifier was trained on.
    """
    size = classifier.spec.size
    if images.shape[1:] != (size, size):
        found = " x ".join(str(side) for side in images.shape[1:])
        raise UserError(f"images are {found} pixels, the classifier takes {size} x {size}")
    classifier = classifier.to(device).to(memory_format=torch.channels_last).eval()
    batch = batch_size(classifier.spec.input_size)
    with torch.inference_mode():
        parts = [
            classifier(torch.from_numpy(np.array(images[start : start + batch])).to(device))
            for start in range(0, len(images), batch)
        ]
    probabilities = torch.cat([part[0] for part in parts], dim=1)
    embeddings = torch.cat([part[1] for part in parts])
    return Outputs(probabilities.float().cpu().numpy(), embeddings.float().cpu().numpy())


def embed_images(classifier: Classifier, images: np.ndarray, device: torch.device) -> np.ndarray:
    """(N, d) float32: the embeddings of `predict`, by which similar images are searched.

    images: (N, size, size) uint8. Without zoomed copies, which take three times as long and help neighbours
    little.
    """
    tta = "flip" if classifier.spec.tta == "flip_zoom" else classifier.spec.tta
    return predict(classifier.with_tta(tta), images, device).embeddings


def save_classifier(classifier: Classifier) -> None:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    with atomic(WEIGHTS) as temporary:
        temporary.write_bytes(to_bytes(state))
    write_json(SPEC, asdict(classifier.spec))


def load_classifier() -> Classifier:
    """Raises `UserError` if the model has not been built."""
    if not (WEIGHTS.is_file() and SPEC.is_file()):
        raise UserError(f"{WEIGHTS}: no model here; build it with `dvc repro`, or fetch it with `dvc pull`")
    spec = Spec(**read_json(SPEC))
    classifier = Classifier(spec, [build_member(spec) for _ in range(spec.members)])
    classifier.load_state_dict(load_file(WEIGHTS))
    return classifier.eval()
