"""What is frozen stays bit-identical in every family of backbones: weights and batch statistics."""

import pytest
import torch
from torch import nn

from cxr.models.backbones import build_backbone
from cxr.models.network import Network
from cxr.training.freezing import HeadOnly, freeze, train_mode
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


def build(name, size, dropout=0.3):
    torch.manual_seed(0)
    backbone = build_backbone(name, weights="none", weights_sha256="none", size=size, stored_size=28)
    return Network(backbone.base, backbone.dimensions, 2, dropout), backbone.input


def changed_by_training(network, expects, steps=2):
    """Names of the tensors, of parameters and buffers, that a few training steps change."""
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    train_mode(network)
    for _ in range(steps):
        x = torch.randn(2, expects.channels, expects.size, expects.size, generator=generator)
        loss = nn.functional.cross_entropy(network(x), torch.tensor([0, 1]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}


def statistics(network):
    return {key for key in network.state_dict() if key.endswith(("running_mean", "running_var"))}


@pytest.mark.parametrize(("name", "size", "part"), FAMILIES)
def test_frozen_weights_do_not_change(name, size, part):
    network, expects = build(name, size)
    head = {"head.weight", "head.bias"}
    freeze(network, "head")
    assert changed_by_training(network, expects) == head

    freeze(network, [part])
    trained = {key for key in network.state_dict() if key.startswith(f"base.{part}.")}
    changed = changed_by_training(network, expects)
    assert head < changed <= head | trained
    assert {key for key in trained if key.endswith("weight")} <= changed
    assert statistics(network) & trained <= changed
    assert bool(statistics(network)) == (name not in NO_BATCH_NORM)


def test_frozen_weights_do_not_change_in_maxvit():
    network, expects = build("maxvit_t", 224)
    freeze(network, "head")  # alone and one step: it is large
    assert statistics(network)
    assert changed_by_training(network, expects, steps=1) == {"head.weight", "head.bias"}


def test_all_changes_batch_normalisation_too():
    network, expects = build("resnet18_28", 16)
    freeze(network, "head")
    freeze(network, "all")
    assert set(network.state_dict()) == changed_by_training(network, expects)


def test_frozen_dropout_and_stochastic_depth_are_off():
    """Otherwise a frozen EfficientNet would compute other features of the same image at every step."""
    network, _ = build("efficientnet_b0", 32, dropout=0.0)
    x = torch.randn(4, 3, 32, 32)
    freeze(network, "all")
    train_mode(network)
    assert not torch.equal(network.features(x), network.features(x))
    freeze(network, "head")
    train_mode(network)
    assert torch.equal(network.features(x), network.features(x))
    assert network.training
    assert network.head.training


def test_head_on_features_trains_with_its_dropout():
    network, _ = build("small_cnn", 16, dropout=0.5)
    head, features = HeadOnly(network), torch.randn(8, 128)
    train_mode(head)
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), network.head(features))


def test_unknown_module_is_an_error_that_offers_known_ones():
    network, _ = build("resnet18_28", 16)
    before = [parameter.requires_grad for parameter in network.parameters()]
    offered = "choose from conv1, bn1, layer1, layer2, layer3, layer4, head"
    for part in ("layer5", "layer", "avgpool", "Layer4", "", "."):  # avgpool exists, but has no weights
        with refused(f"params.yaml: train.trainable names {part},", offered):
            freeze(network, ["layer4", part])
    with refused("names layer4.2, but", "choose from layer4.0, layer4.1, head"):
        freeze(network, ["layer4.2"])
    assert [parameter.requires_grad for parameter in network.parameters()] == before
    network, _ = build("efficientnet_b0", 32)
    with refused("names features.9.block, but", "choose from features.0,", "features.8, head"):
        freeze(network, ["features.6", "features.9.block"])


def test_list_may_name_the_head():
    network, _ = build("small_cnn", 16)
    freeze(network, ["head", "block3", "block2.0"])
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    parts = ("base.block2.0", "base.block3.0", "head")
    assert trained == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
