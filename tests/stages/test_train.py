"""Training is reproducible to the byte, and the released classifier preprocesses images as training did."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine

from cxr.core import dataset, device
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, read_json, write_json
from cxr.models import classifier
from cxr.models.classifier import (
    Classifier,
    build_member,
    load_classifier,
    predict,
)
from cxr.models.preprocess import Preprocess, augmented_copies, fit_normalisation, to_grey
from cxr.training.inputs import AugmentedImages
from cxr.training.loop import Phase
from cxr.training.member import member_seed
from cxr.training.targets import Targets
from stages import train
from tests.builders import (
    augmentation,
    files_below,
    noise_images,
    refused,
    save_classifier,
    settings,
    small_classifier,
    write_packed,
    write_params,
)

CPU = torch.device("cpu")
STRONG = augmentation(rotation=10, scale=0.1, shift=0.1, flip=0.5, gamma=0.2, contrast=0.2, noise=0.1)


def targets_of(labels, weights=(1.0, 1.0), **changes) -> Targets:
    labels = np.asarray(labels, np.int64)
    names = [str(number) for number in range(len(weights))]
    offsets = np.zeros(len(weights), np.float32)
    return Targets(names, np.arange(len(weights)), labels, np.array(weights, np.float32), offsets, **changes)


def phase_of(model, images, labels, *, seed=0, weights=(1.0, 1.0), augment=None, targets=None, **changes):
    """A phase that trains the first member of `model`, in float32 unless changed."""
    precision = changes.pop("precision", "float32")
    options = {"epochs": 3, "batch_size": 16, "label_smoothing": 0.0} | changes
    chosen = settings("train", **options)
    inputs = AugmentedImages(torch.from_numpy(images), augment or augmentation(), model.spec.preprocess)
    targets = targets or targets_of(labels, weights)
    return Phase(model.members[0], inputs, targets, chosen, precision, seed)


def fitted(images, labels, *, drawn=0, dropout=0.3, **options):
    """A member of `small_classifier`, trained; the classifier around it and the learning rates."""
    model = small_classifier(members=1, dropout=dropout, tta="none")
    torch.rand(drawn)  # random numbers drawn before training must not matter
    phase = phase_of(model, images, labels, **options)
    return model, [phase.epoch() for _ in range(phase.settings.epochs)]


def weights_of(model) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


@pytest.mark.parametrize(
    ("precision", "dropout"),
    [("float32", 0.3), ("bf16", 0.3), ("float32", 0.0)],
    ids=["float32", "bf16", "order and augmentation alone"],
)
def test_same_seed_same_bytes(precision, dropout):
    images, labels = noise_images(40), np.arange(40) % 2
    options = {"augment": STRONG, "precision": precision, "dropout": dropout, "epochs": 2}
    first = fitted(images, labels, seed=1, **options)[0]
    assert weights_of(fitted(images, labels, seed=1, drawn=7, **options)[0]) == weights_of(first)
    # The initial weights are the same, so that the difference comes from the training.
    assert weights_of(fitted(images, labels, seed=2, **options)[0]) != weights_of(first)


@pytest.mark.parametrize(("epochs", "count", "batch"), [(6, 50, 16), (3, 24, 128), (1, 8, 8)])
def test_one_cycle_lasts_as_long_as_the_training(epochs, count, batch):
    """The incomplete last batch of an epoch is left out, and a set smaller than a batch is one."""
    _, rates = fitted(noise_images(count), np.arange(count) % 2, epochs=epochs, batch_size=batch, lr=0.01)
    assert rates[-1] == pytest.approx(0.01 / 25 / 1e4, rel=1e-6)


def test_sampler_decides_what_is_drawn():
    images = noise_images(40)
    rare = np.zeros(40)
    rare[[3, 8]] = 0.5
    targets = targets_of(np.arange(40) % 2, sampling=rare)
    phase = phase_of(small_classifier(members=1), images, None, targets=targets)
    assert set(phase._order().tolist()) == {3, 8}
    plain = phase_of(small_classifier(members=1), images, np.arange(40) % 2, batch_size=8)
    assert sorted(plain._order()) == [*range(40)]


def test_average_is_released_and_does_not_change_the_training():
    images, labels = noise_images(40), np.arange(40) % 2
    plain, averaged = (
        phase_of(small_classifier(members=1, dropout=0.0), images, labels, select=select)
        for select in ("last", "ema")
    )
    for phase in (plain, averaged):
        phase.epoch()
    assert plain.released is plain.module
    assert weights_of(plain.module) == weights_of(averaged.module)
    assert weights_of(averaged.released) != weights_of(averaged.module)


def test_training_can_overfit_64_images():
    images, labels = noise_images(64), np.random.default_rng(0).integers(0, 2, 64)
    model, _ = fitted(images, labels, epochs=20, lr=0.003, weight_decay=0.0)
    p = predict(model, images, CPU).mean
    assert np.array_equal(p.argmax(axis=1), labels)
    assert p[np.arange(64), labels].mean() > 0.9


@pytest.mark.parametrize("only", [0, 1])
def test_class_of_weight_zero_is_not_learnt(only):
    images, labels = noise_images(64), np.arange(64) % 2
    model, _ = fitted(images, labels, weights=[1.0 - only, float(only)], epochs=20)
    assert set(predict(model, images, CPU).mean.argmax(axis=1)) == {only}


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_loss_that_is_not_finite_is_an_error(bad):
    with refused("epoch 1 has no finite loss; lower train.lr (or finetune.lr)"):
        fitted(noise_images(32), np.arange(32) % 2, weights=(1.0, bad), lr=0.02)


def test_members_share_no_seed():
    seeds = {member_seed(seed, member) for seed in range(60) for member in range(60)}
    assert len(seeds) == 3600
    assert all(0 <= seed < 2**63 for seed in seeds)  # what both of PyTorch's generators take


def test_normalisation_is_that_of_the_images():
    images = noise_images(300)  # more than the 256 that are counted at a time
    fitted_to = fit_normalisation(images)
    assert fitted_to == (
        pytest.approx(images.mean() / 255, abs=1e-6),
        pytest.approx(images.std() / 255, abs=1e-6),
    )
    mean, std = fitted_to
    x = Preprocess(16, (mean,), (std,))(to_grey(torch.from_numpy(images)))
    assert x.shape == (300, 1, 16, 16)
    assert float(x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(x.std()) == pytest.approx(1, abs=1e-4)


def test_images_of_one_level_are_not_divided_by_zero():
    assert fit_normalisation(np.full((3, 16, 16), 7, np.uint8))[1] > 0


def test_training_and_prediction_have_the_same_input():
    images = noise_images(16)
    model = small_classifier(members=1, tta="none").to(memory_format=torch.channels_last)
    seen = []
    model.members[0].base.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    predict(model, images, CPU)
    phase_of(model, images, np.arange(16) % 2, epochs=1).epoch()

    evaluated, trained = ({round(float(image.mean()), 4): image for image in batch} for batch in seen)
    assert evaluated.keys() == trained.keys()
    assert len(trained) == 16
    for key, image in evaluated.items():  # 1e-5 of a grey level of 1/255: no resampling, no other scale
        torch.testing.assert_close(trained[key], image, atol=1e-4, rtol=0)


def test_prediction_leaves_the_classifier_differentiable():
    # Grad-CAM needs gradients after a prediction, and so does training after one of the untrained network.
    model, images = small_classifier(members=1), noise_images(4)
    predict(model, images, CPU)
    probabilities, *_ = model(torch.from_numpy(images))
    probabilities[0, :, 1].sum().backward()
    assert model.members[0].head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("k", [2, 3, 5])
def test_subclass_probabilities_are_summed(k):
    outputs = ["normal", *(f"pneumonia_{i}" for i in range(k)), "tuberculosis"]
    of_class = [0] + [1] * k + [2]
    classes = ["normal", "pneumonia", "tuberculosis"]
    model = small_classifier(outputs=outputs, output_classes=of_class, classes=classes, tta="none")
    images = noise_images(9)
    prediction = predict(model, images, CPU)
    x = (torch.from_numpy(images)[:, None].float() / 255 - 0.4) / 0.2
    for member, probabilities in zip(model.members, prediction.probabilities, strict=True):
        with torch.inference_mode():
            p = member(x).softmax(dim=1).numpy()
        expected = np.stack([p[:, 0], p[:, 1:-1].sum(axis=1), p[:, -1]], axis=1)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(prediction.mean, prediction.probabilities.mean(axis=0))
    np.testing.assert_allclose(prediction.mean.sum(axis=1), 1, atol=1e-5)


def test_all_members_have_the_same_weight_in_the_embedding():
    embeddings = predict(small_classifier(members=3), noise_images(5), CPU).embeddings
    assert embeddings.shape == (5, 3 * 128)
    np.testing.assert_allclose(np.linalg.norm(embeddings.reshape(5, 3, 128), axis=2), 1, atol=1e-5)


def test_mirror_image_has_the_same_probabilities_with_tta_only():
    images = noise_images(20)
    for tta in ("flip", "flip_zoom", "none"):
        model = small_classifier(tta=tta)
        straight, mirrored = (predict(model, batch, CPU) for batch in (images, images[:, :, ::-1]))
        difference = abs(straight.probabilities - mirrored.probabilities).max()
        assert difference > 0.01 if tta == "none" else difference < 1e-5
        assert np.allclose(straight.embeddings, mirrored.embeddings, atol=1e-5) == (tta != "none")


def test_zoomed_copies_are_torchvisions():
    grey = to_grey(torch.from_numpy(noise_images(3, size=40)))
    copies = augmented_copies(grey, "flip_zoom")
    assert len(copies) == 6
    assert torch.equal(copies[2], grey)
    assert torch.equal(copies[3], grey.flip(-1))
    for copy, zoom in ((copies[0], 0.9), (copies[4], 1.1)):
        expected = affine(grey, 0.0, [0, 0], zoom, [0.0], InterpolationMode.BILINEAR, center=None)
        inside = (..., slice(4, -4), slice(4, -4))  # the two fill the border differently
        torch.testing.assert_close(copy[inside], expected[inside], atol=1e-3, rtol=0)


def test_batch_size_does_not_change_predictions(monkeypatch):
    images, model = noise_images(20), small_classifier()
    whole = predict(model, images, CPU)
    monkeypatch.setattr(classifier, "batch_size", lambda _: 7)
    np.testing.assert_allclose(predict(model, images, CPU).probabilities, whole.probabilities, atol=1e-5)


def test_saved_classifier_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, images = small_classifier(members=3), noise_images(10)
    save_classifier(model)
    assert files_below(tmp_path) == ["models/classifier.json", "models/classifier.safetensors"]
    assert load_file(classifier.WEIGHTS).keys() == model.state_dict().keys()
    loaded = load_classifier()
    assert loaded.spec == model.spec
    assert not loaded.training
    before, after = predict(model, images, CPU), predict(loaded, images, CPU)
    assert np.array_equal(before.probabilities, after.probabilities)
    assert np.array_equal(before.embeddings, after.embeddings)


@pytest.mark.parametrize("missing", ["classifier.json", "classifier.safetensors"])
def test_missing_model_is_an_error(tmp_path, monkeypatch, missing):
    monkeypatch.chdir(tmp_path)
    save_classifier(small_classifier())
    (tmp_path / "models" / missing).unlink()
    with refused(f"models/{missing}: no model here", "`dvc repro`", "`dvc pull`"):
        load_classifier()


@pytest.mark.parametrize(
    ("missing", "added", "says"),
    [
        (["prior"], [], "it has no prior)"),
        (["reading", "precision"], [], "it has no precision, no reading)"),
        (["tta"], ["colour"], "it has no tta, an unknown colour)"),
    ],
)
def test_model_of_another_version_of_the_code_is_an_error(tmp_path, monkeypatch, missing, added, says):
    monkeypatch.chdir(tmp_path)
    save_classifier(small_classifier())
    content = {key: value for key, value in read_json(classifier.SPEC).items() if key not in missing}
    write_json(classifier.SPEC, content | dict.fromkeys(added, 1))
    with refused("models/classifier.json: written by another version", says, "`dvc repro`", "`dvc checkout`"):
        load_classifier()


def test_images_of_another_size_are_an_error():
    with refused("images are 20 x 16 pixels, the classifier takes 16 x 16"):
        predict(small_classifier(), np.zeros((2, 20, 16), np.uint8), CPU)


def test_documented_size_of_the_network():
    network = build_member(small_classifier(size=28, input_size=28).spec)
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(287_000, abs=500)
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_unavailable_cuda_is_an_error():
    with refused("params.yaml: compute.device is cuda", "set it to cpu or auto"):
        device.configure("cuda", 1)


def test_float32_is_float32_on_cuda_too():
    torch.backends.cudnn.allow_tf32 = True
    device.configure("auto", 1)
    assert not torch.backends.cudnn.allow_tf32


BARE = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        (BARE, "float32"),
        (BARE | {"avx512_bf16": True}, "bf16"),
        (BARE | {"avx512_bf16": True, "amx_bf16": True}, "bf16"),
        ({"architecture": "arm64", "neon": True, "bf16": False}, "float32"),
        ({"architecture": "arm64", "neon": True, "bf16": True}, "bf16"),
        ({"architecture": "unknown"}, "float32"),
    ],
)
def test_bf16_where_the_processor_has_it(monkeypatch, capabilities, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert device.has_bf16(CPU) == (chosen == "bf16")
    assert device.choose_precision("auto", CPU) == chosen
    assert [device.choose_precision(stated, CPU) for stated in ("bf16", "float32")] == ["bf16", "float32"]


@pytest.mark.parametrize(("native", "chosen"), [(True, "bf16"), (False, "float32")])
def test_bf16_where_the_gpu_has_it(monkeypatch, native, chosen):
    def supported(including_emulation=True):
        return including_emulation or native  # older GPUs emulate it

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert device.choose_precision("auto", torch.device("cuda")) == chosen


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Run the stage in an empty folder, with changes to params.yaml, on processors with bf16 or without."""
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (6, 6), "test": (6, 6)}, ["normal", "sick"])
    rows = [(row, "x", 0) for row in load_dataset().rows("train")]
    dataset.write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows)

    def run(bf16=True, **changes):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: BARE | {"avx512_bf16": bf16})
        quick = {"compute.device": "cpu", "compute.workers": 1}
        quick |= {"train.members": 1, "train.epochs": 2, "train.batch_size": 16}
        write_params(tmp_path, quick | {key.replace("__", "."): value for key, value in changes.items()})
        train.main()
        return [
            (tmp_path / "models" / name).read_bytes() for name in ("classifier.safetensors", "history.csv")
        ]

    return run


def test_number_of_workers_changes_no_byte(stage):
    assert stage(compute__workers=2, train__members=3) == stage(compute__workers=1, train__members=3)


def test_chosen_precision_is_trained_in_and_recorded(stage, capsys):
    of_precision = {}
    for precision in ("bf16", "float32"):
        of_precision[precision] = stage(train__precision=precision)
        assert "no bf16 instructions" not in capsys.readouterr().out
    assert of_precision["bf16"] != of_precision["float32"]
    for bf16, chosen in ((True, "bf16"), (False, "float32")):
        assert stage(bf16, train__precision="auto") == of_precision[chosen]
        assert load_classifier().spec.precision == chosen
        said = capsys.readouterr().out
        assert f"trained in {chosen}" in said
        assert "no bf16 instructions" not in said
    assert stage(bf16=False, train__precision="bf16") == of_precision["bf16"]
    assert "no bf16 instructions here: train.precision auto would choose float32" in capsys.readouterr().out


def test_training_resumes_on_other_workers_but_not_in_another_precision(stage, monkeypatch):
    class KeyIsKnownError(Exception):
        pass

    def stop(*arguments):
        raise KeyIsKnownError(arguments[-1])

    monkeypatch.setattr(train, "MemberTask", stop)

    def key(*arguments, **changes):
        with pytest.raises(KeyIsKnownError) as caught:
            stage(*arguments, **changes)
        return str(caught.value)

    plain = key(train__precision="auto")
    assert key(train__precision="auto", compute__workers=3) == plain
    assert key(bf16=False, train__precision="auto") != plain
    assert key(train__precision="auto", compute__threads=2) != plain


def test_stage_releases_members_that_do_not_depend_on_test(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (6, 6), "test": (6, 6)}, ["normal", "sick"])
    data = load_dataset()
    rows = [(row, f"{data.classes[data.labels[row]]}_{row % 2}", 0) for row in data.rows("train")]
    dataset.write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows)
    changes = {"members": 2, "epochs": 2, "batch_size": 16, "precision": "float32"}
    changes = {f"train.{key}": value for key, value in changes.items()} | {"imbalance.strategy": "both"}
    write_params(tmp_path, changes | {"compute.workers": 1, "compute.device": "cpu"})
    train.main()
    outputs = ("classifier.json", "classifier.safetensors", "history.csv")
    first = [(tmp_path / "models" / name).read_bytes() for name in outputs]

    images = np.array(data.images)
    images[data.rows("test")] = noise_images(12, seed=9)
    dataset.write_npy(dataset.IMAGES, images)
    train.main()

    assert [(tmp_path / "models" / name).read_bytes() for name in outputs] == first
    model = load_classifier()
    assert model.spec.outputs == ["normal_0", "normal_1", "sick_0", "sick_1"]
    assert model.spec.output_classes == [0, 0, 1, 1]
    state = load_file(classifier.WEIGHTS)
    assert not torch.equal(state["members.0.head.weight"], state["members.1.head.weight"])
    history = read_csv("models/history.csv")
    assert [(row["member"], row["epoch"]) for row in history] == [*zip("0011", "1212", strict=True)]
    assert [row["released"] for row in history] == ["0", "1", "0", "1"]
    alone = Classifier(replace(model.spec, members=1, tta="none"), [model.members[1]])
    val = data.rows("val")
    p = predict(alone, images[val], CPU).mean[np.arange(12), data.labels[val]]
    assert float(history[-1]["val_nll"]) == pytest.approx(-np.log(p).mean(), rel=1e-4)
    assert float(history[-1]["val_accuracy"]) == pytest.approx(np.mean(p > 0.5))


def test_subclasses_of_other_images_are_an_error_of_the_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (6, 6), "test": (6, 6)}, ["normal", "sick"])
    rows = [(row, "x", 0) for row in load_dataset().rows("train")]
    dataset.write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows[::-1])
    write_params(tmp_path, {"compute.threads": 1, "compute.device": "cpu"})
    with refused(
        "data/subclasses.csv: its column row does not list the training images", "`dvc repro cluster`"
    ):
        train.main()


def test_new_members_differ_by_seed_alone():
    spec = small_classifier().spec
    torch.manual_seed(3)
    first = build_member(spec).head.weight
    torch.manual_seed(3)
    assert torch.equal(build_member(spec).head.weight, first)
    assert not torch.equal(build_member(spec).head.weight, first)


def test_mixup_blends_images_and_losses():
    """One batch, recomputed: the pairs from the phase's generator, the weight from the Beta distribution."""
    images, labels = noise_images(16), np.arange(16) % 2
    model = small_classifier(members=1, dropout=0.0)
    phase = phase_of(model, images, labels, batch_size=16, mixup=0.3)
    x = model.spec.preprocess(to_grey(torch.from_numpy(images)))
    torch.manual_seed(5)
    loss = phase._loss(x, phase.labels)

    pairs = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(5)
    weight = float(torch.distributions.Beta(0.3, 0.3).sample())
    assert 0 < weight < 1
    logits = model.members[0](weight * x + (1 - weight) * x[pairs])
    target = torch.nn.functional.one_hot(phase.labels, 2).float()
    target = weight * target + (1 - weight) * target[pairs]
    expected = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
