"""The shipped classifier: all members of the ensemble, what they need to read a film, and its files."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cxr.errors import UserError
from cxr.files import atomic, read_json, write_json
from cxr.models.compact_cnn import CompactCNN
from cxr.preprocess import Normalisation, to_grey

WEIGHTS = Path("models/classifier.safetensors")
SPEC = Path("models/classifier.json")
BATCH = 512


@dataclass(frozen=True)
class Spec:
    """What rebuilds a classifier around its weights.

    outputs: names of a network's logits, sub-classes under decomposition. output_classes: the index into
    `classes` that each belongs to. size: pixels a side of a stored image.
    """

    backbone: str
    dropout: float
    classes: list[str]
    outputs: list[str]
    output_classes: list[int]
    size: int
    mean: float
    std: float
    flip_tta: bool
    members: int


@dataclass(frozen=True)
class Prediction:
    """probabilities: (members, N, classes) float32, before calibration. embeddings: (N, d) float32, each
    member's features brought to length 1 and put side by side, so that all members weigh the same."""

    probabilities: np.ndarray
    embeddings: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(N, classes): the ensemble's probability (deep ensembles, https://arxiv.org/abs/1612.01474)."""
        return self.probabilities.mean(axis=0)


class Classifier(nn.Module):
    def __init__(self, spec: Spec, members: list[CompactCNN]) -> None:
        super().__init__()
        self.spec = spec
        self.members = nn.ModuleList(members)
        self.normalise = Normalisation(spec.mean, spec.std)
        # (outputs, classes) of 0 and 1: a matrix product sums the sub-classes of each class.
        summing = torch.zeros(len(spec.outputs), len(spec.classes))
        summing[torch.arange(len(spec.outputs)), torch.tensor(spec.output_classes)] = 1
        self.register_buffer("summing", summing, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (N, size, size) uint8. Returns (members, N, classes) probabilities, (N, d) embeddings."""
        x = self.normalise(to_grey(images)).contiguous(memory_format=torch.channels_last)
        views = [x, x.flip(-1)] if self.spec.flip_tta else [x]
        probabilities, embeddings = [], []
        for member in self.members:
            assert isinstance(member, CompactCNN)  # a ModuleList does not know what it holds
            features = torch.stack([member.features(view) for view in views])
            fine = member.head(features).softmax(dim=-1).mean(dim=0)
            probabilities.append(fine @ self.summing)
            embeddings.append(nn.functional.normalize(features.mean(dim=0), dim=-1))
        return torch.stack(probabilities), torch.cat(embeddings, dim=1)


def build_member(spec: Spec) -> CompactCNN:
    """A freshly initialised network; its weights are drawn from PyTorch's global generator."""
    return CompactCNN(len(spec.outputs), spec.dropout)


def predict(classifier: Classifier, images: np.ndarray, device: torch.device) -> Prediction:
    """images: (N, size, size) uint8. On `device`, a batch at a time, in float32 unless autocast is on.

    Raises `UserError` if the images have another size than the classifier was trained on.
    """
    size = classifier.spec.size
    if images.shape[1:] != (size, size):
        found = " x ".join(str(side) for side in images.shape[1:])
        raise UserError(f"images are {found} pixels, the classifier takes {size} x {size}")
    classifier = classifier.to(device).to(memory_format=torch.channels_last).eval()
    with torch.inference_mode():
        parts = [
            classifier(torch.from_numpy(np.array(images[start : start + BATCH])).to(device))
            for start in range(0, len(images), BATCH)
        ]
    probabilities = torch.cat([part[0] for part in parts], dim=1)
    embeddings = torch.cat([part[1] for part in parts])
    return Prediction(probabilities.float().cpu().numpy(), embeddings.float().cpu().numpy())


def save(classifier: Classifier) -> None:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    with atomic(WEIGHTS) as temporary:
        save_file(state, temporary)
    write_json(SPEC, asdict(classifier.spec))


def load() -> Classifier:
    """Raises `UserError` if the model has not been built."""
    if not (WEIGHTS.is_file() and SPEC.is_file()):
        raise UserError(f"{WEIGHTS}: no model here; build it with `dvc repro`, or fetch it with `dvc pull`")
    spec = Spec(**read_json(SPEC))
    classifier = Classifier(spec, [build_member(spec) for _ in range(spec.members)])
    classifier.load_state_dict(load_file(WEIGHTS))
    return classifier.eval()
