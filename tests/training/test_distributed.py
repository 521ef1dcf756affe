"""Two processes, connected by gloo, train one network together as one process does.

Long: every test starts processes that import PyTorch.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tqdm import tqdm

from cxr.core.engine import Tick, all_at_once
from cxr.models.network import Network
from cxr.training.distributed import process_group
from cxr.training.freezing import HeadOnly, freeze
from cxr.training.inputs import AugmentedImages, UnaugmentedImages, augmented_features, unaugmented_features
from cxr.training.loop import Phase
from cxr.training.member import class_probabilities
from cxr.training.selection import Measures, measure_epoch
from cxr.training.share import ALONE, Share
from cxr.training.targets import Targets
from tests.builders import augmentation, noise_images, settings, small_classifier

pytestmark = pytest.mark.long

CPU = torch.device("cpu")
IMAGES, BATCH = 52, 25  # a batch that two processes cannot halve
LABELS = np.arange(IMAGES, dtype=np.int64) % 5 // 3
STRONG = augmentation(rotation=10, scale=0.1, shift=0.1, flip=0.5, gamma=0.2, contrast=0.2, noise=0.1)
WEIGHTED = {"weights": np.array([0.3, 1.7], np.float32)}


@dataclass(frozen=True)
class Case:
    backbone: str
    targets: dict
    train: dict
    frozen: bool = False


CASES = {
    "plain": Case("small_cnn", {}, {}),
    "class weights, label smoothing": Case("small_cnn", WEIGHTED, {"label_smoothing": 0.1}),
    "focal, logit adjustment": Case(
        "small_cnn", WEIGHTED | {"gamma": 2.0, "offsets": np.array([-0.4, -1.1], np.float32)}, {}
    ),
    "mixup, class weights": Case("small_cnn", WEIGHTED, {"mixup": 0.4}),
    "sampling": Case("small_cnn", {"sampling": np.where(LABELS, 0.8, 0.2) / np.where(LABELS, 20, 32)}, {}),
    "moving average": Case("small_cnn", {}, {"select": "ema"}),
    "batch normalisation, frozen, features computed once": Case("compact_cnn", WEIGHTED, {}, frozen=True),
    "vision transformer": Case("timm:test_vit", WEIGHTED, {"mixup": 0.4, "optimiser": "sgd"}),
}


@dataclass(frozen=True)
class Result:
    """gradients: of each tensor for the first batch. initial, state: tensors before, and those released after
    an epoch of two batches. untrained, val: measures of these. lr: of the last batch."""

    gradients: dict[str, torch.Tensor]
    initial: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]
    untrained: Measures
    val: Measures
    lr: float


def epoch_of(case: Case, share: Share) -> Result:
    size = 160 if case.backbone.startswith("timm") else 16
    changes = {"mean": [0.4] * 3, "std": [0.2] * 3} if size == 160 else {}
    model = small_classifier(1, backbone=case.backbone, dropout=0.0, size=size, input_size=size, **changes)
    network, spec = model.members[0], model.spec
    assert isinstance(network, Network)
    network.head.reset_parameters()  # without batch normalisation that of `small_classifier` is far too steep
    network.to(memory_format=torch.channels_last)
    images = torch.from_numpy(noise_images(IMAGES, size))
    offsets = {"offsets": np.zeros(2, np.float32), "weights": np.ones(2, np.float32)}
    targets = Targets(["0", "1"], np.arange(2), LABELS, **(offsets | case.targets))
    chosen = settings("train", epochs=1, batch_size=BATCH, label_smoothing=0.0, lr=1e-3, schedule="none")
    chosen = chosen.replace(**case.train)
    module, inputs = network, AugmentedImages(images, STRONG, spec.preprocess)
    val = UnaugmentedImages(images, spec.preprocess)
    if case.frozen:
        freeze(network, "head")
        share.check(network, case.backbone)
        module = HeadOnly(network)
        inputs = augmented_features(network, images, STRONG, spec.preprocess, "float32", 3, share)
        val = [unaugmented_features(network, images, spec.preprocess, "float32", share)]

    def measured(released: torch.nn.Module) -> Measures:
        return measure_epoch(class_probabilities(released, val, spec, share), LABELS)

    untrained = measured(module)
    phase = Phase(module, inputs, targets, chosen, "float32", 5, share)
    gradients: dict[str, torch.Tensor] = {}

    def keep(*_: object) -> None:
        if not gradients:
            named = module.named_parameters()
            gradients.update({name: p.grad.clone() for name, p in named if p.grad is not None})

    phase.optimiser.register_step_pre_hook(keep)
    initial = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    lr = phase.epoch()
    val_measures = measured(phase.released)
    return Result(gradients, initial, phase.released.state_dict(), untrained, val_measures, lr)


@dataclass(frozen=True)
class AllCases:
    """Every case, in one of several processes."""

    meeting: str
    count: int

    def __call__(self, rank: int, tick: Tick) -> dict[str, Result]:
        share = Share(rank, self.count)
        with process_group(self.meeting, share, CPU):
            return {name: epoch_of(case, share) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Result]]:
    """The results of all cases in each of two processes."""
    store: Path = tmp_path_factory.mktemp("meeting") / "store"
    compute = settings("compute", device="cpu", workers=1, threads=1)
    with tqdm(disable=True) as bar:
        return all_at_once(AllCases(f"file://{store}", 2), 2, compute, bar)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(name: str, together: list[dict[str, Result]]) -> None:
    """Gradients of the first batch, relative to their size, and weights after two batches; both processes
    have the same to the last byte."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = epoch_of(CASES[name], ALONE)
    torch.set_num_threads(threads)
    first, second = (results[name] for results in together)
    assert first.gradients.keys() == alone.gradients.keys()
    for key, expected in alone.gradients.items():
        assert (first.gradients[key] - expected).norm() < 1e-6 * expected.norm(), key
        assert torch.equal(first.gradients[key], second.gradients[key]), key
    for key, expected in alone.state.items():
        assert torch.equal(first.state[key], second.state[key]), key
        torch.testing.assert_close(first.state[key], expected, rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(tensor, alone.initial[key]) for key, tensor in alone.state.items())
    assert first.untrained == second.untrained == alone.untrained
    assert first.val == second.val
    assert first.val.nll == pytest.approx(alone.val.nll, rel=1e-6)
    assert (first.val.auc, first.val.accuracy) == (alone.val.auc, alone.val.accuracy)
    assert first.lr == alone.lr
