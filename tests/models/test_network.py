"""The networks of this repository: sizes, initial weights and the head."""

import pytest
import torch
from torch import nn

from cxr.models import small_cnns
from cxr.models.backbones import build_backbone
from cxr.models.network import Network


def build(name, outputs, dropout=0.3, hidden=0, size=28):
    backbone = build_backbone(name, weights="none", weights_sha256="none", size=size, stored_size=28)
    return Network(backbone.base, backbone.dimensions, outputs, dropout, hidden)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_small_cnn_has_the_published_number_of_parameters():
    assert parameters(build("small_cnn", outputs=1)) == 92_801


def test_published_inception_head():
    head = build("inception_v3", outputs=2, dropout=0.5, hidden=512, size=75).head
    assert parameters(head) == 1_050_114
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert head[2].p == 0.5


def test_initial_weights_of_compact_cnn_do_not_change():
    """The committed results depend on initial weights drawn in this order."""
    torch.manual_seed(3)
    network = build("compact_cnn", outputs=2)
    torch.manual_seed(3)
    expected = []
    for inputs, outputs in [(1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]:
        expected.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False).weight)
        expected += [torch.ones(outputs), torch.zeros(outputs)]  # batch normalisation draws nothing
    expected += nn.Linear(128, 2).parameters()
    weights = list(network.parameters())
    assert len(weights) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


@pytest.mark.parametrize("base", [small_cnns.compact_cnn, small_cnns.small_cnn])
def test_features_are_means_of_the_last_maps(base):
    network, x = base().eval(), torch.randn(3, 1, 28, 28)
    maps = x
    for name, part in network.named_children():
        maps = maps if name in ("mean", "flatten") else part(maps)
    assert maps.shape[1:] == (128, *{small_cnns.compact_cnn: (7, 7), small_cnns.small_cnn: (3, 3)}[base])
    assert torch.equal(network(x), maps.mean(dim=(2, 3)))


def test_resnet18_28_keeps_the_pixels_of_a_small_image():
    network, sides = build("resnet18_28", outputs=2), {}
    assert network.base.conv1.weight.shape == (64, 1, 3, 3)
    for name in ("conv1", "layer1", "layer2", "layer3", "layer4"):
        network.base.get_submodule(name).register_forward_hook(
            lambda _, __, maps, name=name: sides.update({name: maps.shape[2:]})
        )
    assert network.features(torch.randn(2, 1, 28, 28)).shape == (2, 512)
    assert sides == {
        "conv1": (28, 28),
        "layer1": (28, 28),
        "layer2": (14, 14),
        "layer3": (7, 7),
        "layer4": (4, 4),
    }


@pytest.mark.parametrize("hidden", [0, 5])
def test_logits_are_the_heads_of_the_features(hidden):
    network, x = build("small_cnn", outputs=3, hidden=hidden).eval(), torch.randn(4, 1, 28, 28)
    assert network.features(x).shape == (4, 128)
    assert network(x).shape == (4, 3)
    assert torch.equal(network(x), network.head(network.features(x)))


@pytest.mark.parametrize("hidden", [0, 5])
def test_dropout_is_in_the_head_alone(hidden):
    network, x = build("small_cnn", outputs=3, dropout=0.5, hidden=hidden).train(), torch.randn(4, 1, 28, 28)
    assert torch.equal(network.features(x), network.features(x))
    assert not torch.equal(network(x), network(x))
    assert len([module for module in network.modules() if isinstance(module, nn.Dropout)]) == 1


def test_residual_block_adds_to_its_input():
    block, x = small_cnns.Residual(4).eval(), torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x), (x + block.change(x)).relu())
    with torch.no_grad():
        block.change[-1].weight.zero_()  # of the last batch normalisation
    torch.testing.assert_close(block(x), x.relu())
