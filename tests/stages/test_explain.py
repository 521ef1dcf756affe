"""Grad-CAM equals a computation by hand and works for all families; the stage counts what a loop counts."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import cosine_similarity
from torch.nn.functional import interpolate

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_json, write_csv, write_json, write_npy
from cxr.embeddings.gallery import Gallery
from cxr.embeddings.subclasses import subclass_of_each
from cxr.embeddings.vectors import embed_rows
from cxr.inference import predictions
from cxr.inference.calibration import Calibration, save_calibration
from cxr.inference.gradcam import _from_maps, find_layer, gradcam, to_maps
from cxr.inference.predictions import load_predictions, save_predictions
from cxr.models import classifier
from cxr.models.classifier import Classifier, load_classifier
from cxr.models.preprocess import to_grey
from cxr.params import load_params
from cxr.training.history import HISTORY_COLUMNS
from stages import evaluate, explain
from stages.explain import nearest_to_errors
from tests.builders import (
    noise_images,
    refused,
    save_classifier,
    save_small_typicality,
    small_classifier,
    write_packed,
    write_params,
)

CPU = torch.device("cpu")
SUBCLASSES = {"outputs": ["normal", "pneumonia_0", "pneumonia_1"], "output_classes": [0, 1, 1]}


def by_hand(
    model: Classifier, images: np.ndarray, score: Callable[[torch.Tensor], torch.Tensor]
) -> np.ndarray:
    """Grad-CAM of a compact_cnn, whose features are the means of the maps of block3. score: logits (N, K) to
    the (N,) numbers that are explained."""
    radiographs = model.spec.preprocess(to_grey(torch.from_numpy(images)))
    total = torch.zeros(())
    for member in model.members:
        with torch.no_grad():
            maps = member.base[:-2](radiographs)
        maps.requires_grad_()
        (gradient,) = torch.autograd.grad(score(member.head(maps.mean(dim=(2, 3)))).sum(), maps)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        total = total + (weights * maps.detach()).sum(dim=1, keepdim=True)
    fine = interpolate(total.relu(), images.shape[1:], mode="bilinear")[:, 0].numpy()
    return np.array([one / one.max() if one.max() else one for one in fine])


@pytest.mark.parametrize(
    ("changes", "scores"),
    [
        ({}, (lambda z: z[:, 0], lambda z: z[:, 1])),
        ({"logits": 1}, (lambda z: -z[:, 0], lambda z: z[:, 0])),
        (SUBCLASSES, (lambda z: z[:, 0], lambda z: (z[:, 1].exp() + z[:, 2].exp()).log())),
    ],
    ids=["two logits", "one logit", "sub-classes"],
)
def test_maps_equal_a_computation_by_hand(changes, scores):
    model, images = small_classifier(**changes), noise_images(5)
    for label in (0, 1):
        result = gradcam(model, images, np.full(5, label), CPU)
        assert (result.shape, result.dtype) == ((5, 16, 16), np.float32)
        np.testing.assert_allclose(result, by_hand(model, images, scores[label]), atol=1e-5)
    mixed = gradcam(model, images, np.array([0, 1, 0, 1, 1]), CPU)
    assert np.array_equal(mixed[[1, 3, 4]], result[[1, 3, 4]])


def test_one_logit_raises_one_class_at_a_location():
    model, images = small_classifier(logits=1), noise_images(3)
    for a, b in zip(*(gradcam(model, images, np.full(3, label), CPU) for label in (0, 1)), strict=True):
        # The layer has 4 x 4 locations of 4 pixels; their centres depend little on neighbouring locations.
        assert not ((a[2::4, 2::4] > 0.9) & (b[2::4, 2::4] > 0.9)).any()


def test_the_classifier_is_not_modified():
    model, images = small_classifier(), noise_images(3)
    before = classifier.predict(model, images, CPU).probabilities
    gradcam(model, images, np.ones(3, int), CPU)
    assert all(weight.requires_grad for weight in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert np.array_equal(classifier.predict(model, images, CPU).probabilities, before)


FAMILIES = {
    "small_cnn": (1, 28, "block3", 3),
    "compact_cnn": (1, 28, "block3", 7),
    "resnet18_28": (1, 28, "layer4", 4),
    "squeezenet1_1": (3, 64, "classifier.2", 3),
    "mobilenet_v3_small": (3, 64, "features", 2),
    "efficientnet_b0": (3, 64, "features", 2),
    "densenet121": (3, 64, "features", 2),
    "timm:test_resnet": (3, 64, None, 2),
    "timm:test_efficientnet": (3, 64, None, 2),
    "timm:test_convnext": (3, 64, None, 2),
    "timm:test_vit": (3, 160, "blocks.5.norm1", 10),
}
LARGE = {
    "vgg11": (3, 64, "features", 2),
    "inception_v3": (3, 107, "Mixed_7c", 2),
    "maxvit_t": (3, 224, "blocks.3", 7),
    "vit_b_16": (3, 64, "encoder.layers.encoder_layer_11.ln_1", 4),
    "swin_t": (3, 64, "permute", 2),
    "timm:swin_tiny_patch4_window7_224": (3, 224, "norm", 7),
    "timm:vit_tiny_patch16_224": (3, 224, "blocks.11.norm1", 14),
}


def check_family(name: str, channels: int, size: int, layer: str | None, grid: int) -> None:
    # With one logit any attribution but 0 is in the map of one of the classes.
    options = {"logits": 1, "mean": [0.4] * channels, "std": [0.2] * channels, "input_size": size, "size": 28}
    model = small_classifier(members=1, backbone=name, **options)
    result = find_layer(model.members[0].base, torch.randn(2, channels, size, size))
    assert result is not None
    assert result.grid == grid
    assert layer in (None, result.name)
    maps = gradcam(model, noise_images(2, 28), np.array([0, 1]), CPU)
    assert maps.shape == (2, 28, 28)
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert set(maps.max(axis=(1, 2)).tolist()) <= {0.0, 1.0}
    both = np.stack([gradcam(model, noise_images(1, 28), np.array([label]), CPU) for label in (0, 1)])
    assert both.any()
    assert not np.array_equal(*both)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_maps(name):
    check_family(name, *FAMILIES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_every_large_family_has_maps(name):
    check_family(name, *LARGE[name])


def test_a_base_without_spatial_layout_raises():
    model = small_classifier(members=1)
    model.members[0].base = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 128))
    with refused("compact_cnn: no layer preserves the spatial layout", "model.backbone in params.yaml"):
        gradcam(model, noise_images(1), np.array([0]), CPU)


def test_images_of_another_size_raise():
    with refused("images are 20 x 20 pixels, the classifier takes 16 x 16"):
        gradcam(small_classifier(), noise_images(1, 20), np.array([0]), CPU)


def test_locations_of_a_transformer_are_its_patches_row_by_row():
    tokens = torch.arange(2 * 101 * 64).reshape(2, 101, 64).float()
    maps = to_maps(tokens, 10)
    assert maps.shape == (2, 64, 10, 10)
    assert torch.equal(maps[1, :, 3, 4], tokens[1, 1 + 34])
    assert torch.equal(_from_maps(maps, tokens), tokens)


def build_gallery(data: dataset.Dataset, embedding: str = "classifier", val: bool = False) -> Gallery:
    rows = data.rows("train", "val") if val else data.rows("train")
    vectors = embed_rows(embedding, "cosine", data, rows, load_params(), CPU)
    return Gallery.build(vectors, rows, embedding, "cosine", "flat")


def build(folder: Path) -> tuple[Path, KMeans, np.ndarray]:
    """Everything the stage reads, of an untrained classifier, in the working directory `folder`."""
    names = ["normal", "pneumonia"]
    write_packed({"train": (20, 30), "val": (6, 6), "test": (10, 15)}, names)
    save_classifier(small_classifier())
    save_small_typicality(small_classifier())
    save_calibration(Calibration(1.0, 0.5, [0.5, 0.5], [0.5, 0.5]))
    write_csv("models/history.csv", HISTORY_COLUMNS, [(0, 1, 0.1, 0.5, 0.5, 0.5, 0.5, 1)])
    settings = {"evaluate.bootstrap": 100, "compute.threads": 1, "compute.device": "cpu"}
    write_params(folder, settings | {"clip_embed.dimensions": 4})
    evaluate.main()
    data = load_dataset()
    points = np.random.default_rng(0).normal(size=(len(data.labels), 4)).astype(np.float32)
    train = data.rows("train")
    fit = KMeans(3, n_init=1, random_state=0).fit(points[train][data.labels[train] == 1])
    write_npy("data/embeddings.npy", points)
    write_npy("data/centroids.npy", fit.cluster_centers_)
    write_json("metrics/cluster.json", {"pneumonia": {"k": 3}})
    build_gallery(data).save()
    return folder, fit, points


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return build(tmp_path)


def test_stage_counts_what_a_loop_counts(run):
    _, fit, points = run
    explain.main()
    report, data = read_json("metrics/subgroups.json"), load_dataset()
    table = load_predictions().of("test")
    train = data.rows("train")
    thirds = {
        name: np.quantile([measured(data.images[row]) for row in train], [1 / 3, 2 / 3])
        for name, measured in (("brightness", np.mean), ("contrast", np.std))
    }
    counted: dict[tuple[str, str], list[bool]] = {}
    for row, label, p in zip(table.rows, table.labels, table.ensemble, strict=True):
        right = bool(p.argmax() == label)
        image = data.images[row]
        for name, value in (("brightness", image.mean()), ("contrast", image.std())):
            third = ("low", "middle", "high")[int(np.sum(value > thirds[name]))]
            counted.setdefault((name, third), []).append(right)
        counted.setdefault(("class", data.classes[label]), []).append(right)
        counted.setdefault(("duplicates", "unique"), []).append(right)
        if label == 1:
            number = fit.predict(points[row : row + 1])[0]
            counted.setdefault(("sub-class", f"pneumonia_{number}"), []).append(right)
    assert {(group, name) for group, names in report["subgroups"].items() for name in names} == set(counted)
    for (group, name), right in counted.items():
        result = report["subgroups"][group][name]
        assert (result["images"], result["errors"]) == (len(right), len(right) - sum(right))
        assert result["accuracy"] == pytest.approx(np.mean(right), abs=1e-6)
    assert report["limits"] == {name: pytest.approx(values, abs=1e-6) for name, values in thirds.items()}
    assert report["accuracy"] == pytest.approx(
        np.mean(table.ensemble.argmax(axis=1) == table.labels), abs=1e-6
    )
    details = read_json("metrics/details.json")["test"]["decisions"]["released"]
    assert report["top_confusion"] == details["top_confusion"]


def test_stage_writes_figures_and_finite_checks_and_the_same_twice(run):
    explain.main()
    report = read_json("metrics/explain.json")
    assert report["images"] == 25
    for name in ("other_class", "random_head", "random_weights"):
        assert {"pairs", "empty"} <= report[name].keys()
        assert np.isfinite(list(report[name].values())).all()
    names = ("plots/failures.png", "plots/gradcam.png", "plots/subgroups.png", "metrics/explain.json")
    before = [Path(name).read_bytes() for name in names]
    for name in names[:3]:
        assert min(Image.open(name).size) > 200
    explain.main()
    assert [Path(name).read_bytes() for name in names] == before


def test_maps_are_compared_with_opacities_where_these_are_known(run):
    explain.main()
    assert "pointing" not in read_json("metrics/explain.json")
    data, test = load_dataset(), load_predictions().of("test")
    opacities = np.zeros_like(data.images)
    sick = test.rows[test.labels == 1]
    opacities[sick, :8, :8], opacities[sick[0]] = 20, 0
    write_npy(dataset.OPACITIES, opacities)
    explain.main()
    game = read_json("metrics/explain.json")["pointing"]
    assert (game["images"], game["tolerance"]) == (len(sick) - 1, 0)
    maps = gradcam(load_classifier(), data.images[sick[1:]], np.ones(len(sick) - 1, int), CPU)
    energy = [one[:8, :8].sum() / one.sum() if one.any() else 0 for one in maps]
    hits = [bool(one.any() and one[:8, :8].max() == 1) for one in maps]
    assert game["energy"]["value"] == pytest.approx(np.mean(energy), abs=1e-5)
    assert game["hit"]["value"] == pytest.approx(np.mean(hits), abs=1e-5)
    assert game["hit"]["uniform"] == game["energy"]["uniform"] == 0.25


def test_subclass_of_a_training_image_is_the_one_that_k_means_gave(run):
    _, fit, _ = run
    data = load_dataset()
    names = subclass_of_each(data)
    train = data.rows("train")
    of_class = data.labels[train] == 1
    assert names[train][of_class].tolist() == [f"pneumonia_{number}" for number in fit.labels_]
    assert set(names[data.labels == 0]) == {""}


def test_a_classifier_that_is_always_right_or_wrong_has_figures_too(run):
    table = load_predictions()
    for truth in (0.9, 0.1):
        p = np.where(np.eye(2)[table.labels] > 0, truth, 1 - truth)
        members = np.stack([p, p])
        values = list(vars(table).values())[:4]
        save_predictions(predictions.Predictions(*values, ensemble=p, members=members))
        explain.main()
        assert read_json("metrics/subgroups.json")["accuracy"] == round(truth)


@pytest.mark.parametrize("what", ["rows", "labels", "members"])
def test_predictions_of_another_run_raise(run, what):
    lines = predictions.PATH.read_text().splitlines()
    test = next(i for i, line in enumerate(lines) if ",test," in line)
    if what == "rows":
        del lines[test]
    elif what == "labels":
        cells = lines[test].split(",")
        cells[2] = "normal" if cells[2] == "pneumonia" else "pneumonia"
        lines[test] = ",".join(cells)
    else:
        lines = [line.rsplit(",", 2)[0] for line in lines]
    predictions.PATH.write_text("\n".join(lines) + "\n")
    with refused("metrics/predictions.csv does not belong to data/labels.csv", f"other {what}"):
        explain.main()
    assert not Path("metrics/subgroups.json").exists()


def test_an_index_of_another_model_raises(run):
    save_classifier(small_classifier(seed=1))
    with refused("models/index.faiss was built with another model than models/classifier.safetensors"):
        explain.main()
    assert not Path("metrics/subgroups.json").exists()


def test_an_index_of_other_images_raises(run):
    meta = json.loads(Path("models/index.json").read_text())
    meta["rows"][0] += 1
    write_json("models/index.json", meta)
    with refused("models/index.json does not belong to data/labels.csv: other rows"):
        explain.main()


@pytest.mark.parametrize(("embedding", "val"), [("classifier", True), ("encoder", False), ("encoder", True)])
def test_the_nearest_image_comes_from_whatever_gallery_there_is(run, embedding, val):
    _, _, points = run
    data, test = load_dataset(), load_predictions().of("test")
    gallery = build_gallery(data, embedding, val)
    gallery.check(data)
    errors = {"some": np.array([3, 0]), "others": np.array([20])}
    result = nearest_to_errors(errors, gallery, test, data, load_params(), CPU)
    assert list(result) == [3, 0, 20]
    rows = data.rows("train", "val") if val else data.rows("train")
    vectors = (
        points
        if embedding == "encoder"
        else classifier.predict(load_classifier(), data.images, CPU).embeddings
    )
    similarity = cosine_similarity(vectors[test.rows], vectors[rows])
    for i, (row, cosine) in result.items():
        assert cosine == pytest.approx(similarity[i].max(), abs=1e-6)
        assert similarity[i][rows.tolist().index(row)] == pytest.approx(cosine, abs=1e-6)


def test_without_errors_nothing_is_searched(run):
    data, test = load_dataset(), load_predictions().of("test")
    assert nearest_to_errors({}, Gallery.load(), test, data, load_params(), CPU) == {}


def test_subclasses_of_two_classes_are_numbered_within_their_class(run):
    data, generator = load_dataset(), np.random.default_rng(0)
    centroids = 10 * np.eye(5, 4, dtype=np.float32)
    centroids[4] = -10
    of_class = {0: [0, 1], 1: [2, 3, 4]}
    number = np.array([generator.integers(len(of_class[label])) for label in data.labels])
    nearest = [of_class[label][k] for label, k in zip(data.labels, number, strict=True)]
    write_npy("data/embeddings.npy", centroids[nearest] + generator.normal(size=(len(number), 4)) / 10)
    write_npy("data/centroids.npy", centroids)
    write_json("metrics/cluster.json", {"normal": {"k": 2}, "pneumonia": {"k": 3}})
    expected = [f"{data.classes[label]}_{k}" for label, k in zip(data.labels, number, strict=True)]
    assert subclass_of_each(data).tolist() == expected
