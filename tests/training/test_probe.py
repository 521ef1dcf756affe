"""A frozen encoder with a logistic regression is a classifier: small models in their libraries' formats."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.embeddings_encoders import CASES, Case, mirror_of, settings_of
from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv
from cxr.inference.gradcam import gradcam
from cxr.inference.onnx_session import OnnxModel
from cxr.models.classifier import embed_images, load_classifier, predict
from cxr.models.encoders.encoder import encode
from cxr.models.encoders.load import build_encoder_network, load_encoder
from stages import calibrate, evaluate, export, train
from tests.builders import noise_images, refused, write_json, write_packed, write_params

CPU = torch.device("cpu")
DINOV2, CLIP, VIT = (
    next(case for case in CASES if case.published == name)
    for name in ("facebook/dinov2-base", "openai/clip-vit-base-patch32", "google/vit-base-patch16-224")
)
NAMES = [f"{case.published} {case.pooling}" for case in CASES]


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Run the stage train in an empty folder with changes to params.yaml."""
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (8, 8), "test": (8, 8)}, ["normal", "sick"])
    data = load_dataset()
    rows = [(row, "x", 0) for row in data.rows("train")]
    dataset.write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows)

    def run(case: Case = DINOV2, **changes):
        chosen = {
            "compute.device": "cpu",
            "compute.workers": 1,
            "compute.threads": 1,
            "train.precision": "float32",
            "clip_embed.encoder": case.encoder,
            "clip_embed.revision": "main",
            "model.backbone": "encoder",
            "model.normalisation": "train",
            "model.tta": "none",
            "imbalance.strategy": "none",
            "imbalance.conflicting": 1.0,
            "evaluate.bootstrap": 100,
        }
        write_params(tmp_path, chosen | {key.replace("__", "."): value for key, value in changes.items()})
        with mirror_of(case):
            train.main()
        return load_classifier()  # without the encoder's files

    return run


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_network_is_built_again_without_its_files(case):
    with mirror_of(case), torch.inference_mode():
        encoder = load_encoder(settings_of(case))
    origin = json.loads(json.dumps(encoder.origin))
    assert os.environ.get("CXR_MIRROR", "none") not in json.dumps(origin)
    network = build_encoder_network(origin).eval()
    network.load_state_dict(encoder.model.state_dict())
    x = encoder.preparation(torch.from_numpy(noise_images(2, 40)), CPU)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), encoder.model(x), rtol=0, atol=1e-6)


def test_a_probe_is_a_classifier_of_the_encoders_embeddings(stage, capsys):
    model = stage()
    assert (model.spec.backbone, model.spec.members) == ("acme/dinov2", 1)
    assert "logistic regression on 32 features of acme/dinov2" in capsys.readouterr().out
    data = load_dataset()
    with mirror_of(DINOV2):
        encoder = load_encoder(settings_of(DINOV2))
        expected = encode(encoder, data.images, CPU, "float32")
    ours = embed_images(model, data.images, CPU, normalised=False)
    # The library rounds grey levels after resizing and stops at black and white.
    assert np.abs(ours - expected).max() / np.abs(expected).max() < 0.02
    val = data.rows("val")
    outputs = predict(model, data.images[val], CPU)
    assert np.mean(outputs.mean.argmax(axis=1) == data.labels[val]) > 0.9
    history = read_csv("models/history.csv")
    assert [(row["member"], row["epoch"], row["released"]) for row in history] == [("0", "1", "1")]
    of_label = outputs.mean[np.arange(len(val)), data.labels[val]]
    assert float(history[0]["val_nll"]) == pytest.approx(-np.log(of_label).mean(), rel=1e-3)
    assert gradcam(model, data.images[val][:2], np.array([0, 1]), CPU).shape == (2, 16, 16)


def test_test_images_change_no_byte_and_members_are_one(stage):
    paths = [Path("models", name) for name in ("classifier.safetensors", "classifier.json", "history.csv")]
    stage()
    first = [path.read_bytes() for path in paths]
    data = load_dataset()
    images = np.array(data.images)
    images[data.rows("test")] = noise_images(16, seed=9)
    dataset.write_npy(dataset.IMAGES, images)
    stage(train__members=3, train__epochs=7, augment__rotation=3.0)
    assert [path.read_bytes() for path in paths] == first


def logits(model):
    data = load_dataset()
    p = predict(model, data.images, CPU).mean
    return np.log(p[:, 1] / p[:, 0])


def test_imbalance_is_in_the_head(stage):
    plain = stage()
    adjusted = stage(imbalance__strategy="logit_adjustment")
    # 20 and 30 images in train.
    np.testing.assert_allclose(logits(adjusted), logits(plain) - np.log(30 / 20), atol=1e-3)
    weighted = stage(imbalance__strategy="class_weights", imbalance__class_weights=[10.0, 0.1])
    assert (logits(weighted) < logits(plain)).all()


def test_one_logit_says_the_same(stage):
    two, one = stage(), stage(train__loss="bce")
    assert one.spec.logits == 1
    np.testing.assert_allclose(logits(one), logits(two), atol=1e-5)


def test_another_input_size_is_taken_if_the_encoder_can(stage):
    model = stage(model__input_size=112)
    assert (model.spec.input_size, model.spec.preprocess.resized) == (112, 128)
    with refused("model.input_size: acme/vit takes no radiographs of 100 x 100", "set it to 224"):
        stage(VIT, model__input_size=100)


def test_settings_that_a_probe_cannot_have_are_an_error(stage):
    with refused("model.backbone is encoder, but clip_embed.encoder is pixels"):
        stage(clip_embed__encoder="pixels")
    with refused("model.hidden is 8", "linear", "set it to 0"):
        stage(model__hidden=8)
    with refused("model.weights is imagenet", "clip_embed", "set it to none"):
        stage(model__weights="imagenet")
    with refused("imbalance.strategy is focal", "logistic regression"):
        stage(imbalance__strategy="focal")
    assert not Path("models/classifier.json").exists()


def test_a_probe_is_calibrated_evaluated_and_exported(stage):
    """CLIP, a value of whose graph the exporter names as an output."""
    stage(CLIP, model__tta="flip")
    calibrate.main()
    evaluate.main()
    write_json("metrics/data.json", {"source": {"limits": "Radiographs of noise."}})
    export.main()
    data = load_dataset()
    answer = OnnxModel(Path("models/classifier.onnx").read_bytes(), threads=1)(data.images[data.rows("test")])
    table = [row for row in read_csv("metrics/predictions.csv") if row["split"] == "test"]
    expected = [float(row["p_sick"]) for row in table]
    np.testing.assert_allclose(answer.probabilities[:, 1], expected, atol=1e-5)
    assert np.ptp(expected) > 0.1
