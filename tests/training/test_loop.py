"""A phase of training: same seed, same bytes; every setting has its effect; it can be resumed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cxr.models.classifier import predict
from cxr.models.preprocess import to_grey
from cxr.training.augment import augment
from cxr.training.inputs import AugmentedImages
from cxr.training.loop import Phase
from cxr.training.targets import Targets
from tests.builders import augmentation, noise_images, refused, settings, small_classifier

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
    orders = [plain._order().tolist() for _ in range(2)]
    assert [sorted(order) for order in orders] == [[*range(40)]] * 2
    assert orders[0] != orders[1]


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


def test_average_follows_the_weights_after_every_batch():
    images, labels = noise_images(40), np.arange(40) % 2
    model = small_classifier(members=1, dropout=0.0)
    phase = phase_of(model, images, labels, select="ema", batch_size=8, lr=0.01)
    seen = []
    phase.optimiser.register_step_post_hook(
        lambda *_: seen.append(model.members[0].head.weight.detach().clone())
    )
    phase.epoch()
    assert len(seen) == 5
    expected = seen[0]  # the average begins with the weights after the first batch
    for step, weight in enumerate(seen[1:], start=1):
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(phase.released.head.weight, expected)


@pytest.mark.parametrize("select", ["last", "ema"])
def test_phase_goes_on_from_its_state_as_if_it_had_not_stopped(select):
    """Optimiser, schedule, order, augmentation, dropout, mixup and moving average."""
    images, labels = noise_images(40), np.arange(40) % 2
    options = {"select": select, "augment": STRONG, "mixup": 0.3, "lr": 0.003}
    whole, half, again = (phase_of(small_classifier(members=1), images, labels, **options) for _ in range(3))
    torch.manual_seed(0)
    for _ in range(3):
        whole.epoch()
    torch.manual_seed(0)
    half.epoch()
    state = half.state_dict()
    torch.manual_seed(9)
    torch.rand(5)
    again.load_state_dict(state)
    for _ in range(2):
        again.epoch()
    assert weights_of(again.module) == weights_of(whole.module)
    assert weights_of(again.released) == weights_of(whole.released)


@pytest.mark.parametrize(
    ("smoothing", "changes"),
    [
        (0.2, {}),
        (0.0, {"gamma": 2.0}),
        (0.0, {"offsets": np.array([-2.0, 0.0], np.float32)}),
        (0.0, {"weights": np.array([0.2, 1.8], np.float32)}),
    ],
    ids=["label smoothing", "focal", "logit adjustment", "class weights"],
)
def test_loss_has_the_settings_of_the_phase_and_of_the_targets(smoothing, changes):
    """One batch, recomputed with each class's loss written out."""
    images, labels = noise_images(16), np.arange(16) % 4 // 3
    model = small_classifier(members=1, dropout=0.0)
    targets = replace(targets_of(labels), **changes)
    phase = phase_of(model, images, labels, targets=targets, label_smoothing=smoothing)
    x = model.spec.preprocess(to_grey(torch.from_numpy(images)))
    with torch.no_grad():
        logits = model.members[0](x).double() + torch.from_numpy(targets.offsets)
        loss = float(phase._loss(x, phase.labels))
    log_p = logits.log_softmax(dim=1).numpy()
    of_label = log_p[np.arange(16), labels]
    losses = -(1 - smoothing) * of_label - smoothing * log_p.mean(axis=1)
    losses = losses * (1 - np.exp(of_label)) ** targets.gamma
    weights = targets.weights[labels]
    assert loss == pytest.approx(float((losses * weights).sum() / weights.sum()), rel=1e-4)


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


def test_training_images_are_augmented_anew_each_time():
    images, rows = torch.from_numpy(noise_images(10)), torch.tensor([7, 2, 2])
    preprocess, generator = small_classifier(members=1).spec.preprocess, torch.Generator()
    inputs = AugmentedImages(images, STRONG, preprocess)
    first, second = inputs(rows, generator.manual_seed(0)), inputs(rows, generator)
    expected = preprocess(augment(to_grey(images[rows]), STRONG, generator.manual_seed(0)))
    assert torch.equal(first, expected)
    assert not torch.allclose(first, second, atol=0.1)
    assert not torch.allclose(first, preprocess(to_grey(images[rows])), atol=0.1)
    assert len(inputs) == 10


def test_infinite_loss_is_an_error_too(monkeypatch):
    phase = phase_of(small_classifier(members=1), noise_images(32), np.arange(32) % 2)
    monkeypatch.setattr(phase, "_loss", lambda *_: phase.module.head.bias.sum() + math.inf)
    with refused("epoch 1 has no finite loss"):
        phase.epoch()


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
