"""Backbones by name: torchvision's and timm's own features and preprocessing, and weights from files."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from cxr.models import backbones, small_cnns
from cxr.models.backbones import backbone_input, backbone_names, build_backbone, fetch_weights
from cxr.models.torchvision_models import torchvision_architecture, torchvision_names
from tests.builders import empty_mirror, published, refused, unreachable_hub

REAL = Path(os.environ.get("CXR_MIRROR") or "CXR_MIRROR is not set").resolve()
REAL_FILE = "squeezenet1_1-onnxzoo.pth"
REAL_SHA256 = "383ea3524e38641d8afa24b59181da20e1fdfc478e6e5b3a6ef4cfbc769f1570"
TIMM = "test_resnet"  # 0.5 million parameters, which timm publishes for tests


@pytest.fixture(autouse=True)
def mirror(tmp_path, monkeypatch):
    """An empty mirror, empty caches, and no network."""
    folder = empty_mirror(tmp_path, monkeypatch)
    unreachable_hub(tmp_path, monkeypatch)
    return folder


def build(name, weights="none", weights_sha256="none", size=None, stored_size=28):
    return build_backbone(
        name, weights=weights, weights_sha256=weights_sha256, size=size, stored_size=stored_size
    )


def write(state, path):
    """Returns the options of `build` that load this file."""
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return {"weights": f"file:{path.name}", "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def into_last_layer(model, last, x):
    """The input of the layer `last`, averaged over space if that is a convolution."""
    seen = []
    hook = model.get_submodule(last).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model.eval()(x)
    hook.remove()
    return seen[0] if seen[0].ndim == 2 else seen[0].mean(dim=(2, 3))


def features(backbone, images):
    """images: (n, channels, size, size) grey levels from 0 to 1."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (backbone.input.mean, backbone.input.std))
    with torch.inference_mode():
        return backbone.base.eval()((images - mean) / std)


def shapes(module):
    return {key: tensor.shape for key, tensor in module.state_dict().items()}


def close(result, expected):
    scale = expected.abs().max()
    torch.testing.assert_close(result / scale, expected / scale, rtol=0, atol=1e-5)


INCEPTION = {"init_weights": False, "transform_input": True}  # as torchvision computes with its weights


@pytest.mark.parametrize(
    ("name", "last", "dimensions", "size", "own_size", "options"),
    [
        ("squeezenet1_1", "classifier.1", 512, 40, 224, {}),
        ("efficientnet_b0", "classifier.1", 1280, 40, 224, {}),
        ("mobilenet_v3_small", "classifier.3", 1024, 40, 224, {}),
        ("googlenet", "fc", 1024, 40, 224, INCEPTION),
        ("inception_v3", "fc", 2048, 75, 299, INCEPTION),
    ],
)
def test_equals_torchvision_with_its_own_preprocessing(
    mirror, monkeypatch, name, last, dimensions, size, own_size, options
):
    model, _ = published(name, mirror, monkeypatch, **options)
    backbone = build(name, "imagenet", size=size)
    assert backbone.dimensions == dimensions
    assert backbone.input.size == size
    images = torch.rand(3, 3, size, size)
    preset = models.get_model_weights(name).DEFAULT.transforms()
    normalised = (images - torch.tensor(preset.mean).view(-1, 1, 1)) / torch.tensor(preset.std).view(-1, 1, 1)
    close(features(backbone, images), into_last_layer(model, last, normalised))

    assert preset.crop_size == [own_size]
    untrained = build(name, size=size)
    assert shapes(untrained.base) == shapes(backbone.base)
    assert (untrained.input.mean, untrained.input.std, untrained.input.channels) == (None, None, 3)
    # The computation must not depend on the origin of the weights.
    untrained.base.load_state_dict(backbone.base.state_dict())
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        assert torch.equal(untrained.base.eval()(x), backbone.base.eval()(x))


@pytest.mark.parametrize(
    ("name", "size"), [("googlenet", 40), ("mobilenet_v3_small", 40), ("squeezenet1_1", 40)]
)
def test_training_mode_gives_features_without_dropout(name, size):
    base, x = build(name, size=size).base.train(), torch.randn(4, 3, size, size)
    with torch.no_grad():
        assert torch.equal(base(x), base(x))


def timm_published(folder, name=TIMM):
    torch.manual_seed(0)
    model = timm.create_model(name)
    repository = timm.get_pretrained_cfg(name).hf_hub_id
    (folder / repository).mkdir(parents=True)
    save_file(model.state_dict(), folder / repository / "model.safetensors")
    return model, folder / repository / "model.safetensors"


def test_equals_timm_with_its_own_preprocessing(mirror):
    model, _ = timm_published(mirror)
    backbone = build(f"timm:{TIMM}", "imagenet")
    config = timm.data.resolve_model_data_config(model)
    assert (backbone.input.channels, backbone.input.size, backbone.input.size) == config["input_size"]
    images = torch.rand(3, *config["input_size"])
    mean, std = (torch.tensor(config[key]).view(-1, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        model.eval()
        expected = model.forward_head(model.forward_features((images - mean) / std), pre_logits=True)
    assert expected.shape == (3, backbone.dimensions)
    close(features(backbone, images), expected)
    assert shapes(build(f"timm:{TIMM}").base) == shapes(backbone.base)


def test_published_file_with_another_content_than_its_name_says_is_an_error(mirror, monkeypatch):
    _, path = published("squeezenet1_1", mirror, monkeypatch)
    state = torch.load(path)
    torch.save({name: tensor + 1 for name, tensor in state.items()}, path)
    with refused(f"{path} has sha256", f"not {path.stem.rpartition('-')[2]}...; replace it"):
        build("squeezenet1_1", "imagenet")


def test_incomplete_or_pickled_timm_files_are_an_error(mirror):
    model, path = timm_published(mirror)
    state = {key: tensor for key, tensor in model.state_dict().items() if key != "bn1.weight"}
    save_file(state, path)
    with refused("params.yaml: model.weights is imagenet", str(path), "cannot be used", "bn1.weight"):
        build(f"timm:{TIMM}", "imagenet")
    path.unlink()
    torch.save({"x": Harmful()}, path.with_name("pytorch_model.bin"))
    with refused("params.yaml: model.weights is imagenet", "pytorch_model.bin cannot be used"):
        build(f"timm:{TIMM}", "imagenet")
    assert not (mirror / "harm").exists()


class Harmful:
    def __reduce__(self):
        return os.mkdir, (os.environ["CXR_MIRROR"] + "/harm",)


def test_input_is_that_of_the_weights_unless_a_size_is_set(mirror, monkeypatch):
    model, _ = published("squeezenet1_1", mirror, monkeypatch)
    own = write(model.state_dict(), mirror / "own.pth")
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for options in ({"weights": "imagenet"}, own):
        expects = build("squeezenet1_1", **options).input
        assert (expects.size, expects.channels, expects.mean, expects.std) == (224, 3, *imagenet)
        assert build("squeezenet1_1", **options, size=64).input.size == 64
        weights = options["weights"]
        assert backbone_input("squeezenet1_1", weights=weights, size=None, stored_size=28) == expects
    assert build("squeezenet1_1", stored_size=40).input.size == 40
    assert build("squeezenet1_1", stored_size=40, size=50).input.size == 50
    for name in backbones.OWN:
        expects = build(name, stored_size=40).input
        assert (expects.size, expects.channels, expects.mean, expects.std) == (40, 1, None, None)


@pytest.fixture
def no_network(monkeypatch):
    """A function after whose call no network can be built."""

    def forbid():
        for layer in (nn.Conv2d, nn.Linear):
            monkeypatch.setattr(layer, "__init__", lambda *_, **__: pytest.fail("a network was built"))

    return forbid


@pytest.mark.parametrize(
    ("name", "size"), [("compact_cnn", None), ("inception_v3", 75), ("vit_b_32", 224), (f"timm:{TIMM}", None)]
)
def test_input_is_known_without_a_network(no_network, name, size):
    built = build(name, size=size, stored_size=40)
    no_network()
    assert backbone_input(name, weights="none", size=size, stored_size=40) == built.input


def test_weights_are_fetched_without_a_network(mirror, monkeypatch, no_network):
    published("squeezenet1_1", mirror, monkeypatch)
    timm_published(mirror)
    own = write({"x": torch.ones(1)}, mirror / "own.pth")
    no_network()
    assert fetch_weights("squeezenet1_1", "imagenet", "none").parent == mirror
    assert fetch_weights(f"timm:{TIMM}", "imagenet", "none").name == "model.safetensors"
    assert fetch_weights("compact_cnn", **own) == mirror / "own.pth"
    assert fetch_weights("compact_cnn", "none", "none") is None
    with refused("params.yaml: model.weights is imagenet", "set CXR_MIRROR"):
        fetch_weights("resnet18", "imagenet", "none")
    with refused("model.weights_sha256 is none"):
        fetch_weights("compact_cnn", "file:own.pth", "none")


@pytest.mark.parametrize("name", ["compact_cnn", "efficientnet_b0", f"timm:{TIMM}"])
def test_initial_weights_come_from_the_global_generator(name):
    first, second = (torch.manual_seed(5) and build(name, size=64).base for _ in range(2))
    other = build(name, size=64).base
    state = first.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in second.state_dict().items())
    assert not all(torch.equal(tensor, state[key]) for key, tensor in other.state_dict().items())


@pytest.mark.parametrize(
    ("name", "size", "accepted"),
    [("inception_v3", 74, 299), ("maxvit_t", 100, 224), ("vit_b_32", 28, 224), ("timm:test_vit", 28, 160)],
)
def test_images_too_small_for_a_backbone_are_an_error(name, size, accepted):
    with refused(
        f"params.yaml: model.input_size: {name} takes no radiographs of {size} x {size} ", f"to {accepted}"
    ):
        build(name, stored_size=size)


@pytest.mark.parametrize(
    ("name", "size", "accepted"),
    [("compact_cnn", 3, 28), ("squeezenet1_1", 16, 224)],
)
def test_unsuitable_size_is_an_error_that_offers_another(name, size, accepted):
    with refused(
        f"params.yaml: model.input_size: {name} takes no radiographs of {size} x {size} ", f"to {accepted}"
    ):
        build(name, size=size)
    assert build(name, size=accepted).input.size == accepted


def test_every_torchvision_classifier_is_offered():
    assert {"maxvit_t", "inception_v3", "efficientnet_b0", "resnet50", "squeezenet1_1"} <= set(
        backbone_names()
    )
    assert {"timm:resnet10t", "timm:resnet10t.c3_in1k", *backbones.OWN} <= set(backbone_names())
    assert len(set(backbone_names())) == len(backbone_names())
    for name in torchvision_names():
        published_input = torchvision_architecture(name).published
        assert published_input.size >= 224
        assert len(published_input.mean) == len(published_input.std) == 3


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("compact", "compact_cnn"),
        ("resnet19", "resnet18"),
        ("efficientnet", "efficientnet_b"),
        ("timm:resnet10", "timm:resnet10t"),
        ("timm:resnet10t.nothing", "timm:resnet10t"),
        ("fasterrcnn_resnet50_fpn", "resnet50"),
    ],
)
def test_unknown_backbone_is_an_error_that_offers_the_nearest(name, nearest):
    with refused(f"params.yaml: model.backbone is {name}, but there is no such backbone; nearest: ", nearest):
        build(name)


def test_unavailable_weights_are_an_error(mirror):
    file = models.get_model_weights("resnet18").DEFAULT.url.rpartition("/")[2]
    with refused("params.yaml: model.weights is imagenet", f"download {file} elsewhere and set CXR_MIRROR"):
        build("resnet18", "imagenet")
    with refused(
        "params.yaml: model.weights is imagenet",
        "model.safetensors of timm/test_resnet.r160_in1k",
        "--local-dir FOLDER/timm/test_resnet.r160_in1k` elsewhere and set CXR_MIRROR to FOLDER",
    ):
        build(f"timm:{TIMM}", "imagenet")
    for name in backbones.OWN:
        with refused(f"params.yaml: model.weights is imagenet, but {name} has none", "none or file:NAME"):
            build(name, "imagenet")
    with refused("params.yaml: model.weights is file:own.pth", f"CXR_MIRROR={mirror} has no file own.pth"):
        build("compact_cnn", "file:own.pth")


def test_a_file_without_its_hash_is_an_error(mirror):
    write(small_cnns.compact_cnn().state_dict(), mirror / "own.pth")
    with refused("params.yaml: model.weights is file:own.pth", "model.weights_sha256 is none"):
        build("compact_cnn", "file:own.pth")


def whole(name):
    """A state that a weights file of the backbone `name` may hold, and the name of its last layer."""
    if name == "compact_cnn":
        head = nn.Linear(128, 7)
        return small_cnns.compact_cnn().state_dict() | {
            "head.weight": head.weight,
            "head.bias": head.bias,
        }, "head"
    if name == "resnet18_28":
        head = nn.Linear(512, 7)
        return small_cnns.resnet18_28().state_dict() | {"fc.weight": head.weight, "fc.bias": head.bias}, "fc"
    if name.startswith("timm:"):
        return timm.create_model(name.removeprefix("timm:")).state_dict(), "fc"
    last = {"squeezenet1_1": "classifier.1", "mnasnet0_5": "classifier.1", "googlenet": "fc"}[name]
    options = {"init_weights": False} if name == "googlenet" else {}
    return models.get_model(name, num_classes=7, **options).state_dict(), last


LOADABLE = ["compact_cnn", "resnet18_28", "squeezenet1_1", "mnasnet0_5", "googlenet", f"timm:{TIMM}"]


@pytest.mark.parametrize("name", LOADABLE)
def test_every_tensor_but_the_last_layers_comes_from_the_users_file(mirror, name):
    state, last = whole(name)
    state = {key: tensor.detach().clone() for key, tensor in state.items()}
    headless = {key: tensor for key, tensor in state.items() if not key.startswith(f"{last}.")}
    for some, file in ((state, "own.pth"), (headless, "own.safetensors")):
        loaded = build(name, **write(some, mirror / file)).base.state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.items())
        assert all(key.startswith((f"{last}.", "aux1.", "aux2.")) for key in state.keys() - loaded.keys())


@pytest.mark.parametrize("name", LOADABLE)
def test_a_head_for_other_features_is_an_error(mirror, name):
    state, last = whole(name)
    weight = state[f"{last}.weight"].detach()
    state[f"{last}.weight"] = torch.zeros(7, 99, *weight.shape[2:])
    with refused(
        f"own.pth does not fit {name}: its {last}.weight takes 99", f"features, not {weight.shape[1]}"
    ):
        build(name, **write(state, mirror / "own.pth"))


@pytest.mark.parametrize("name", LOADABLE)
def test_weights_of_another_architecture_are_an_error(mirror, name):
    other = "small_cnn" if name == "squeezenet1_1" else "squeezenet1_1"
    state = build(other).base.state_dict()
    with refused(
        "params.yaml: model.weights is file:own.pth, but ",
        f"own.pth does not fit {name}: it has {next(iter(state))}, which {name} does not",
    ):
        build(name, **write(state, mirror / "own.pth"))


def test_the_first_tensor_that_does_not_fit_is_named(mirror):
    state = small_cnns.compact_cnn().state_dict()
    wider = state | {"block2.0.weight": torch.zeros(65, 32, 3, 3), "block2.3.weight": torch.zeros(1)}
    with refused("its block2.0.weight is 65 x 32 x 3 x 3, not 64 x 32 x 3 x 3"):
        build("compact_cnn", **write(wider, mirror / "own.pth"))
    fewer = {key: tensor for key, tensor in state.items() if not key.startswith("block3")}
    with refused("own.safetensors does not fit compact_cnn: it lacks block3.0.weight"):
        build("compact_cnn", **write(fewer, mirror / "own.safetensors"))


@pytest.mark.parametrize("name", ["own.pth", "own.safetensors"])
def test_unreadable_files_are_an_error(mirror, name):
    options = write(small_cnns.compact_cnn().state_dict(), mirror / name)
    (mirror / name).write_bytes((mirror / name).read_bytes()[:50])
    options["weights_sha256"] = hashlib.sha256((mirror / name).read_bytes()).hexdigest()
    with refused(f"params.yaml: model.weights is file:{name}", "cannot be used as its weights"):
        build("compact_cnn", **options)


def test_pickled_code_is_not_run(mirror):
    with refused("params.yaml: model.weights is file:own.pth", "cannot be used as its weights"):
        build("compact_cnn", **write({"x": Harmful()}, mirror / "own.pth"))
    assert not (mirror / "harm").exists()


@pytest.mark.skipif(not (REAL / REAL_FILE).is_file(), reason=f"CXR_MIRROR has no {REAL_FILE}")
@pytest.mark.skipif(
    not (REAL / "pneumoniamnist.npz").is_file(), reason="CXR_MIRROR has no pneumoniamnist.npz"
)
def test_real_weights_give_torchvisions_features_of_real_images(monkeypatch):
    monkeypatch.setenv("CXR_MIRROR", str(REAL))
    backbone = build("squeezenet1_1", f"file:{REAL_FILE}", REAL_SHA256)
    model = models.squeezenet1_1()
    model.load_state_dict(torch.load(REAL / REAL_FILE, weights_only=True))
    grey = torch.from_numpy(np.load(REAL / "pneumoniamnist.npz")["test_images"][:4]).unsqueeze(1) / 255
    images = nn.functional.interpolate(grey, (224, 224), mode="bilinear").expand(-1, 3, -1, -1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    result = features(backbone, images)
    close(result, into_last_layer(model, "classifier.1", normalised))
    assert result.std(dim=0).max() > 0.01 * result.max()  # features differ between images
