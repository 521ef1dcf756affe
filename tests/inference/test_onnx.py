"""The exported graph computes what PyTorch computes, for every family of backbones, and describes itself."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cxr.inference.calibration import Calibration
from cxr.inference.gradcam import coarse_maps, gradcam
from cxr.inference.onnx_graph import Graph, averaged_layer, copy_matrices, to_onnx
from cxr.inference.onnx_session import ModelMetadata, OnnxModel
from cxr.inference.typicality_model import TypicalityModel, fit_typicality, measure
from cxr.models import classifier
from cxr.models.classifier import Classifier, predict
from cxr.models.preprocess import augmented_copies, to_grey
from tests.builders import noise_images, refused, small_classifier

CPU = torch.device("cpu")
SUBCLASSES = {"outputs": ["normal", "pneumonia_0", "pneumonia_1"], "output_classes": [0, 1, 1]}
CALIBRATION = Calibration(0.7, 0.3, [0.3, 0.7], [0.5, 0.5], {"one_half": 0.5})


def small_typicality(model: Classifier) -> TypicalityModel:
    size = model.spec.size
    return fit_typicality(model, noise_images(40, size, seed=1), noise_images(4, size, seed=2), CPU)


def graph_of(model: Classifier) -> Graph:
    return Graph(model, CALIBRATION, small_typicality(model)).eval()


def metadata(model: Classifier) -> ModelMetadata:
    spec = model.spec
    return ModelMetadata(
        backbone=spec.backbone,
        members=spec.members,
        tta=spec.tta,
        size=spec.size,
        reading=spec.reading,
        classes=spec.classes,
        prevalence=CALIBRATION.prevalence,
        threshold=CALIBRATION.threshold,
        operating_points=CALIBRATION.operating_points,
        val_distances=[[0.5, 1.0]],
        classifier_sha256="0" * 64,
        limits="Nothing is known.",
    )


def maps_of(model: Classifier, images: np.ndarray) -> np.ndarray:
    of_class = [coarse_maps(model, images, np.full(len(images), label), CPU) for label in (0, 1)]
    return torch.cat([maps * maps[0, 0].numel() for maps in of_class], dim=1).numpy()


def check(model: Classifier, has_maps: bool = True) -> bytes:
    """The export equals PyTorch for one radiograph and for several."""
    typicality = small_typicality(model)
    content = to_onnx(model, CALIBRATION, typicality, metadata(model))
    onnx_model = OnnxModel(content, threads=1)
    assert onnx_model.has_maps == has_maps
    images = noise_images(5, model.spec.size)
    raw = predict(model, images, CPU)
    expected, distances = CALIBRATION(raw.mean), measure(typicality, model, images, raw, CPU)
    assert np.ptp(expected[:, 1]) > 1e-3  # otherwise the images are not told apart
    for some in (images, images[:1]):
        answer = onnx_model(some)
        np.testing.assert_allclose(answer.probabilities, expected[: len(some)], atol=1e-5)
        np.testing.assert_allclose(answer.distances, distances[: len(some)], rtol=1e-3, atol=1e-5)
        vectors = np.concatenate([member_features(model, image[None]) for image in some])
        np.testing.assert_allclose(answer.embedding, vectors, atol=1e-5)
        if has_maps:
            maps = maps_of(model, some)
            scale = np.abs(maps).max()
            np.testing.assert_allclose(answer.maps / scale, maps / scale, atol=1e-5)
    return content


@torch.inference_mode()
def member_features(model: Classifier, image: np.ndarray) -> np.ndarray:
    """The embedding by hand: of the image and, with test-time augmentation, its mirror image."""
    grey = to_grey(torch.from_numpy(image))
    copies = [grey] if model.spec.tta == "none" else [grey, grey.flip(-1)]
    parts = []
    for member in model.members:
        features = torch.stack([member.features(model.preprocess(copy)) for copy in copies]).mean(dim=0)
        parts.append(features / features.norm())
    return torch.cat(parts, dim=1).numpy()


def test_default_family_with_subclasses_and_all_augmented_copies():
    model = small_classifier(members=1, tta="flip_zoom", **SUBCLASSES)
    content = check(model)
    for trace in (b".py", b"/tmp", b"/home", str(Path.cwd()).encode()):
        assert trace not in content
    onnx.checker.check_model(content, full_check=True)
    assert OnnxModel(content, threads=1).facts == metadata(model)
    assert OnnxModel(content, threads=3)._session.get_session_options().intra_op_num_threads == 3


def test_onnx_runtime_does_not_report_its_use():
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("normalisation", ["image", "local"])
def test_normalisation_of_each_image(normalisation):
    check(small_classifier(members=1, normalisation=normalisation, tta="flip_zoom"))


FAMILIES = {
    "small_cnn": (1, 28, True),
    "squeezenet1_1": (3, 40, True),
}
LARGE = {
    "timm:test_vit": (3, 160, False),
    "resnet18_28": (1, 28, True),
    "efficientnet_b0": (3, 64, True),
    "mobilenet_v3_small": (3, 64, False),
    "densenet121": (3, 64, False),
    "inception_v3": (3, 107, True),
    "maxvit_t": (3, 224, False),
    "swin_t": (3, 64, True),
    "timm:test_convnext": (3, 64, False),
    "timm:test_efficientnet": (3, 64, True),
}


def check_family(name: str, channels: int, size: int, has_maps: bool) -> None:
    options = {"mean": [0.4] * channels, "std": [0.2] * channels, "input_size": size, "size": 28}
    model = small_classifier(members=1, backbone=name, logits=1, **options)
    # With the initial statistics of batch normalisation the signal vanishes in some backbones.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    (member,) = model.members
    with torch.no_grad():
        features = member.train().features(torch.randn(8, channels, size, size))
        member.head.weight.copy_(torch.randn_like(member.head.weight) / features.std() / len(features[0]))
        member.head.bias.zero_()
    check(model.eval(), has_maps)


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families_with_one_logit(name):
    check_family(name, *FAMILIES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_families_with_one_logit(name):
    check_family(name, *LARGE[name])


@pytest.mark.parametrize("tta", ["none", "flip", "flip_zoom"])
@pytest.mark.parametrize("input_size", [16, 40, 10])
def test_matrices_give_the_augmented_copies_of_preprocessing(tta, input_size):
    spec = replace(small_classifier(members=1).spec, tta=tta, input_size=input_size)
    rows, columns = copy_matrices(spec)
    images = to_grey(torch.from_numpy(noise_images(4)))
    copies = [spec.preprocess(copy) * spec.std[0] + spec.mean[0] for copy in augmented_copies(images, tta)]
    products = rows @ images @ columns
    assert products.shape == (4, len(copies), input_size, input_size)
    torch.testing.assert_close(products, torch.cat(copies, dim=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"logits": 1}, SUBCLASSES], ids=["two", "one logit", "sub-classes"])
def test_maps_equal_grad_cam(changes):
    model, images = small_classifier(tta="flip_zoom", **changes), noise_images(3)
    maps = graph_of(model).requires_grad_(False)(torch.from_numpy(images))[3]
    for label in (0, 1):
        fine = torch.nn.functional.interpolate(maps[:, label : label + 1].relu(), (16, 16), mode="bilinear")
        scaled = (fine / fine.amax(dim=(2, 3), keepdim=True)).squeeze(1).numpy()
        np.testing.assert_allclose(scaled, gradcam(model, images, np.full(3, label), CPU), atol=1e-5)


def test_mean_of_a_map_is_the_logit_without_its_bias():
    model, images = small_classifier(members=1, tta="none"), torch.from_numpy(noise_images(3))
    maps = graph_of(model)(images)[3]
    with torch.inference_mode():
        head = model.members[0].head
        logits = model.members[0](model.preprocess(to_grey(images)))
    torch.testing.assert_close(maps.mean(dim=(2, 3)), logits - head.bias, rtol=0, atol=1e-4)


def test_no_maps_where_features_are_not_means_of_maps():
    model = small_classifier(members=1)
    assert averaged_layer(model) is not None
    model.members[0].base = torch.nn.Sequential(model.members[0].base[:-2], torch.nn.AdaptiveMaxPool2d(1))
    model.members[0].base.append(torch.nn.Flatten())
    assert averaged_layer(model) is None
    hidden = replace(small_classifier(members=1).spec, hidden=8)
    assert graph_of(Classifier(hidden, [classifier.build_member(hidden)]).eval()).layer is None


def test_a_file_of_an_earlier_version_is_an_error():
    model = small_classifier(members=1)
    graph = onnx.load_from_string(to_onnx(model, CALIBRATION, small_typicality(model), metadata(model)))
    (distances,) = [output for output in graph.graph.output if output.name == "distances"]
    graph.graph.output.remove(distances)
    with refused(
        "models/classifier.onnx: exported by an earlier version, without typicality", "`dvc repro export`"
    ):
        OnnxModel(graph.SerializeToString(), threads=1)


def test_other_files_are_an_error(tmp_path):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["images"], ["probabilities"])],
        "other",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1])],
        [onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, [1])],
    )
    opset = onnx.helper.make_opsetid("", 20)
    other = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()
    for content in (b"", b"not a model", other):
        with refused("models/classifier.onnx: not written by the stage export"):
            OnnxModel(content, threads=1)
