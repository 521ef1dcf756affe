"""The exported graph says what PyTorch says, for every family of backbones, and holds all that is needed."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cxr.core.files import read_json
from cxr.embeddings.vectors import classifier_vectors
from cxr.inference.calibration import Calibration, load_calibration, save_calibration
from cxr.inference.gradcam import coarse_maps, gradcam
from cxr.inference.onnx_graph import Graph, averaged_layer, to_onnx, view_matrices
from cxr.inference.onnx_session import ModelMetadata, OnnxModel
from cxr.inference.predictions import load_predictions, save_predictions
from cxr.models import classifier
from cxr.models.classifier import Classifier, load_classifier, predict
from cxr.models.preprocess import augmented_copies as views_of
from cxr.models.preprocess import to_grey
from stages import export
from tests.builders import files_below, noise_images, refused, small_classifier

CPU = torch.device("cpu")
SUBCLASSES = {"outputs": ["normal", "pneumonia_0", "pneumonia_1"], "output_classes": [0, 1, 1]}
CALIBRATION = Calibration(0.7, 0.3, [0.3, 0.7], [0.5, 0.5], {"one_half": 0.5})


def facts(model: Classifier) -> ModelMetadata:
    spec = model.spec
    return ModelMetadata(
        backbone=spec.backbone,
        members=spec.members,
        tta=spec.tta,
        size=spec.size,
        classes=spec.classes,
        prevalence=CALIBRATION.prevalence,
        threshold=CALIBRATION.threshold,
        operating_points=CALIBRATION.operating_points,
        classifier_sha256="0" * 64,
        limits="Nothing is known.",
    )


def maps_of(model: Classifier, images: np.ndarray) -> np.ndarray:
    of_class = [coarse_maps(model, images, np.full(len(images), label), CPU) for label in (0, 1)]
    return torch.cat([each * each[0, 0].numel() for each in of_class], dim=1).numpy()


def check(model: Classifier, has_maps: bool = True) -> bytes:
    """The export equals PyTorch for one radiograph and for several."""
    content = to_onnx(model, CALIBRATION, facts(model))
    onnx_model = OnnxModel(content, threads=1)
    assert onnx_model.has_maps == has_maps
    images = noise_images(5, model.spec.size)
    expected = CALIBRATION(predict(model, images, CPU).mean)
    assert np.ptp(expected[:, 1]) > 1e-3  # otherwise nothing has been compared
    for some in (images, images[:1]):
        found = onnx_model(some)
        np.testing.assert_allclose(found.probabilities, expected[: len(some)], atol=1e-5)
        vectors = np.concatenate([member_features(model, image[None]) for image in some])
        np.testing.assert_allclose(found.embedding, vectors, atol=1e-5)
        if has_maps:
            maps = maps_of(model, some)
            np.testing.assert_allclose(found.maps / np.abs(maps).max(), maps / np.abs(maps).max(), atol=1e-5)
    return content


@torch.inference_mode()
def member_features(model: Classifier, image: np.ndarray) -> np.ndarray:
    """The embedding by hand: of the radiograph and, unless there is a single view, its mirror image."""
    grey = to_grey(torch.from_numpy(image))
    views = [grey] if model.spec.tta == "none" else [grey, grey.flip(-1)]
    parts = []
    for member in model.members:
        features = torch.stack([member.features(model.preprocess(view)) for view in views]).mean(dim=0)
        parts.append(features / features.norm())
    return torch.cat(parts, dim=1).numpy()


def test_default_family_with_subclasses_and_all_views():
    model = small_classifier(members=1, tta="flip_zoom", **SUBCLASSES)
    content = check(model)
    for trace in (b".py", b"/tmp", b"/home", str(Path.cwd()).encode()):
        assert trace not in content
    onnx.checker.check_model(content, full_check=True)
    assert OnnxModel(content, threads=1).facts == facts(model)


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
    # Fresh statistics of batch normalisation let the signal of some backbones die away.
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
def test_matrices_make_the_views_of_preprocessing(tta, input_size):
    spec = replace(small_classifier(members=1).spec, tta=tta, input_size=input_size)
    rows, columns = view_matrices(spec)
    images = to_grey(torch.from_numpy(noise_images(4)))
    views = [spec.preprocess(view) * spec.std[0] + spec.mean[0] for view in views_of(images, tta)]
    found = rows @ images @ columns
    assert found.shape == (4, len(views), input_size, input_size)
    torch.testing.assert_close(found, torch.cat(views, dim=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"logits": 1}, SUBCLASSES], ids=["two", "one logit", "sub-classes"])
def test_maps_are_grad_cams(changes):
    model, images = small_classifier(tta="flip_zoom", **changes), noise_images(3)
    maps = Graph(model, CALIBRATION).eval().requires_grad_(False)(torch.from_numpy(images))[2]
    for label in (0, 1):
        fine = torch.nn.functional.interpolate(maps[:, label : label + 1].relu(), (16, 16), mode="bilinear")
        scaled = (fine / fine.amax(dim=(2, 3), keepdim=True)).squeeze(1).numpy()
        np.testing.assert_allclose(scaled, gradcam(model, images, np.full(3, label), CPU), atol=1e-5)


def test_mean_of_a_map_is_the_logit_without_its_bias():
    model, images = small_classifier(members=1, tta="none"), torch.from_numpy(noise_images(3))
    maps = Graph(model, CALIBRATION).eval()(images)[2]
    with torch.inference_mode():
        head = model.members[0].head
        logits = model.members[0](model.preprocess(to_grey(images)))
    torch.testing.assert_close(maps.mean(dim=(2, 3)), logits - head.bias, rtol=0, atol=1e-4)


def test_no_maps_where_features_are_no_means_of_maps():
    model = small_classifier(members=1)
    assert averaged_layer(model) is not None
    model.members[0].base = torch.nn.Sequential(model.members[0].base[:-2], torch.nn.AdaptiveMaxPool2d(1))
    model.members[0].base.append(torch.nn.Flatten())
    assert averaged_layer(model) is None
    hidden = replace(small_classifier(members=1).spec, hidden=8)
    assert Graph(Classifier(hidden, [classifier.build_member(hidden)]).eval(), CALIBRATION).layer is None


def test_stage_describes_what_it_wrote(exported_run, monkeypatch):
    monkeypatch.chdir(exported_run)
    report = read_json("metrics/export.json")
    content = Path("models/classifier.onnx").read_bytes()
    model = OnnxModel(content, threads=1)
    assert (report["sha256"], report["bytes"]) == (model.sha256, len(content))
    for path in ("metrics/test.json", "metrics/reliability.csv"):
        assert report["described_by"][path] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert model.facts.classifier_sha256 == export.sha256(classifier.WEIGHTS)
    assert model.facts.limits == read_json("metrics/data.json")["source"]["limits"]
    assert model.facts.threshold == load_calibration().threshold
    assert set(report["max_difference"]) == {"probabilities", "embedding", "maps"}
    assert all(0 <= value <= 1e-4 for value in report["max_difference"].values())
    test = load_predictions().of("test")
    assert report["images"] == len(test.rows)
    assert to_onnx(load_classifier(), load_calibration(), model.facts) == content
    images = np.load("data/images.npy")[test.rows]
    found = model(images)
    np.testing.assert_allclose(found.probabilities, test.ensemble, atol=1e-5)
    vectors = classifier_vectors(load_classifier(), images, CPU)
    assert vectors.source_sha256 == model.facts.classifier_sha256
    np.testing.assert_allclose(found.embedding, vectors.values, atol=1e-5)


@pytest.fixture
def copy_of_run(exported_run, tmp_path, monkeypatch):
    """The exported run before its export, in a folder of the test's own; the same graph will be exported."""
    for name in files_below(exported_run):
        if name not in ("models/classifier.onnx", "metrics/export.json"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((exported_run / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    content = (exported_run / "models/classifier.onnx").read_bytes()
    monkeypatch.setattr(export, "to_onnx", lambda *_: content)  # which would take seconds each time


def export_refused(*parts: str) -> None:
    with refused(*parts):
        export.main()
    assert not Path("models/classifier.onnx").exists()
    assert not Path("metrics/export.json").exists()


def test_a_graph_that_differs_is_refused(copy_of_run):
    save_calibration(replace(load_calibration(), temperature=3.0))
    export_refused("models/classifier.onnx: probabilities differ from PyTorch's by 0.", "more than 0.0001")


def test_predictions_of_another_model_are_refused(copy_of_run):
    published = load_predictions()
    save_predictions(replace(published, ensemble=published.ensemble[:, ::-1]))
    export_refused("metrics/predictions.csv does not belong to models/classifier.safetensors")


@pytest.mark.parametrize("content", [None, "{}"])
def test_nothing_is_exported_without_a_word_about_the_data(copy_of_run, content):
    Path("metrics/data.json").unlink()
    if content:
        Path("metrics/data.json").write_text(content)
    export_refused("metrics/data.json: not there, or without `source`; run `dvc repro split`")


def test_other_files_are_no_models(tmp_path):
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
