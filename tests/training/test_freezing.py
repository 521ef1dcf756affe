"""Frozen means frozen, in every family of backbones: no weight and no statistic moves by a bit."""

import pytest
import torch
from torch import nn

from cxr.models.backbones import build_backbone
from cxr.models.network import Network
from cxr.training.freezing import freeze, train_mode
from tests.builders import refused

# Name, pixels a side, a module in the middle or at the end. MobileNet has features.1, .10, .11 and .12.
FAMILIES = [
    ("compact_cnn", 16, "block2"),
    ("small_cnn", 16, "block3"),
    ("resnet18_28", 16, "layer4"),
    ("efficientnet_b0", 32, "features.6"),
    ("mobilenet_v3_small", 32, "features.1"),
    ("inception_v3", 75, "Mixed_7c"),
    ("squeezenet1_1", 32, "features.12"),
    ("timm:resnet10t", 32, "layer4"),
]
NO_BATCH_NORM = ("small_cnn", "squeezenet1_1")


def network(name, size, dropout=0.3):
    torch.manual_seed(0)
    backbone = build_backbone(name, weights="none", weights_sha256="none", size=size, stored_size=28)
    return Network(backbone.base, backbone.dimensions, 2, dropout), backbone.input


def moved(network, taken, steps=2):
    """Names of the tensors, of parameters and buffers, that a few training steps change."""
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    train_mode(network)
    for _ in range(steps):
        x = torch.randn(2, taken.channels, taken.size, taken.size, generator=generator)
        loss = nn.functional.cross_entropy(network(x), torch.tensor([0, 1]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}


def statistics(network):
    return {key for key in network.state_dict() if key.endswith(("running_mean", "running_var"))}


@pytest.mark.parametrize(("name", "size", "part"), FAMILIES)
def test_what_is_frozen_does_not_move(name, size, part):
    made, taken = network(name, size)
    head = {"head.weight", "head.bias"}
    freeze(made, "head")
    assert moved(made, taken) == head

    freeze(made, [part])
    trained = {key for key in made.state_dict() if key.startswith(f"base.{part}.")}
    changed = moved(made, taken)
    assert head < changed <= head | trained
    assert {key for key in trained if key.endswith("weight")} <= changed
    assert statistics(made) & trained <= changed
    assert bool(statistics(made)) == (name not in NO_BATCH_NORM)


def test_what_is_frozen_does_not_move_in_maxvit():
    made, taken = network("maxvit_t", 224)
    freeze(made, "head")  # alone and one step: it is large
    assert statistics(made)
    assert moved(made, taken, steps=1) == {"head.weight", "head.bias"}


def test_all_moves_batch_normalisation_too():
    made, taken = network("resnet18_28", 16)
    freeze(made, "head")
    freeze(made, "all")
    assert set(made.state_dict()) == moved(made, taken)


def test_frozen_dropout_and_stochastic_depth_rest():
    """Else a frozen EfficientNet would give other features of the same image at every step."""
    made, _ = network("efficientnet_b0", 32, dropout=0.0)
    x = torch.randn(4, 3, 32, 32)
    freeze(made, "all")
    train_mode(made)
    assert not torch.equal(made.features(x), made.features(x))
    freeze(made, "head")
    train_mode(made)
    assert torch.equal(made.features(x), made.features(x))
    assert made.training
    assert made.head.training


def test_unknown_part_is_refused_and_real_ones_offered():
    made, _ = network("resnet18_28", 16)
    before = [parameter.requires_grad for parameter in made.parameters()]
    offered = "choose from conv1, bn1, layer1, layer2, layer3, layer4, head"
    for part in ("layer5", "layer", "avgpool", "Layer4", "", "."):  # avgpool is there, but has no weights
        with refused(f"params.yaml: train.trainable names {part},", offered):
            freeze(made, ["layer4", part])
    with refused("names layer4.2, but", "choose from layer4.0, layer4.1, head"):
        freeze(made, ["layer4.2"])
    assert [parameter.requires_grad for parameter in made.parameters()] == before
    made, _ = network("efficientnet_b0", 32)
    with refused("names features.9.block, but", "choose from features.0,", "features.8, head"):
        freeze(made, ["features.6", "features.9.block"])


def test_head_may_stand_in_the_list():
    made, _ = network("small_cnn", 16)
    freeze(made, ["head", "block3", "block2.0"])
    trained = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    parts = ("base.block2.0", "base.block3.0", "head")
    assert trained == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
