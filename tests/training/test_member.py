"""A member's phases: which weights each trains, and whether its weights are released."""

import numpy as np
import pytest
import torch

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, write_csv
from cxr.models.backbones import build_backbone
from cxr.models.classifier import Classifier, build_member, predict
from cxr.models.preprocess import to_grey
from cxr.params import load_params
from cxr.training.freezing import HeadOnly
from cxr.training.inputs import AugmentedFeatures, augmented_features, unaugmented_features
from cxr.training.loop import Phase
from cxr.training.member import MemberTask, member_seed, phases, prepare
from cxr.training.selection import measure_epoch
from cxr.training.targets import Subclasses
from tests.builders import augmentation, noise_images, refused, small_classifier, write_packed, write_params

CPU = torch.device("cpu")


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train one member in an empty folder with changes to params.yaml. Returns the specification and the
    trained member."""
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (40, 60), "val": (15, 25), "test": (4, 4)}, ["normal", "sick"])

    def run(member=0, resume=None, tick=lambda: None, subclasses=None, **changes):
        quick = {"train.epochs": 3, "train.batch_size": 20, "train.precision": "float32", "model.tta": "none"}
        # Classes differ in brightness alone, and less than strong augmentation would leave.
        quick |= {"model.normalisation": "train", "imbalance.conflicting": 1.0}
        quick |= {f"augment.{name}": 0.1 for name in ("gamma", "contrast", "brightness")}
        quick |= {"augment.blur": 0.0, "augment.noise": 0.0, "augment.jpeg": 100, "augment.erasing": 0.0}
        write_params(tmp_path, quick | {key.replace("__", "."): value for key, value in changes.items()})
        params, data = load_params(), load_dataset()
        rows = data.rows("train")
        names = subclasses or [""] * len(rows)
        spec, targets = prepare(params, data, rows, Subclasses.named(names), CPU)
        return spec, MemberTask(params, spec, targets, rows, CPU, resume)(member, tick)

    return run


def base_of(state):
    return {key: value for key, value in state.items() if key.startswith("base.")}


def equal(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[key], b[key]) for key in a)


def val_nll(spec, state) -> float:
    network = build_member(spec)
    network.load_state_dict(state)
    data = load_dataset()
    rows = data.rows("val")
    return measure_epoch(
        predict(Classifier(spec, [network]), data.images[rows], CPU).mean, data.labels[rows]
    ).nll


def test_frozen_base_does_not_move(train):
    """Features computed once and the head alone in training: weights and statistics stay as drawn."""
    spec, once = train(train__trainable="head", train__epochs=1)
    _, twice = train(train__trainable="head", train__epochs=4)
    assert equal(base_of(once.state), base_of(twice.state))
    assert not torch.equal(once.state["head.weight"], twice.state["head.weight"])
    # The log loss on val, computed from features in training, is that of the whole network on images.
    assert twice.history[-1][4] == pytest.approx(val_nll(spec, twice.state), rel=1e-4)


def test_second_phase_starts_from_the_first_ones_best(train):
    first = train(train__trainable="head", train__select="val_nll", train__lr=0.03)[1]
    spec, both = train(
        train__trainable="head",
        train__select="val_nll",
        train__lr=0.03,
        finetune__epochs=3,
        finetune__trainable=["block3"],
        finetune__lr=0.003,
    )
    assert [row[1] for row in both.history] == [1, 2, 3, 4, 5, 6]
    assert both.history[:3] == first.history
    moved = {key for key in both.state if not torch.equal(both.state[key], first.state[key])}
    assert {key.split(".")[1] for key in moved if key.startswith("base.")} == {"block3"}
    assert "head.weight" in moved
    assert val_nll(spec, both.state) == pytest.approx(min(row[4] for row in both.history), rel=1e-4)


def swap_classes_of(split: str) -> None:
    """In data/labels.csv: what is learnt on train is wrong on `split`."""
    rows = [list(row.values()) for row in read_csv(dataset.LABELS)]
    other = {"normal": "sick", "sick": "normal"}
    swapped = [[*row[:2], other[row[2]], *row[3:]] if row[1] == split else row for row in rows]
    write_csv(dataset.LABELS, dataset.COLUMNS, swapped)


def test_second_phase_starts_from_the_best_epoch_not_the_last(train):
    """The more is learnt of train, the worse on a val with exchanged classes; the second phase learns next to
    nothing."""
    swap_classes_of("val")
    first = {"train__select": "val_nll", "train__schedule": "none", "train__lr": 3e-4, "train__epochs": 4}
    rest = {"finetune__epochs": 1, "finetune__trainable": "head", "finetune__lr": 1e-9}
    losses = [row[4] for row in train(**first, **rest, finetune__schedule="none")[1].history]
    assert min(losses[:4]) < 0.9 * losses[3]
    assert losses[4] == pytest.approx(min(losses[:4]), rel=1e-3)


@pytest.mark.parametrize("select", ["val_nll", "val_auc", "val_accuracy"])
def test_val_selects_the_weights(train, select):
    """The more is learnt of train, the worse on a val with exchanged classes: the first epoch is its best."""
    swap_classes_of("val")
    options = {"train__select": select, "train__epochs": 5, "train__schedule": "none", "train__lr": 3e-4}
    spec, trained = train(**options)
    on_train, on_val = ([row[column] for row in trained.history] for column in (3, 4))
    assert on_train[-1] < on_train[0]
    assert on_val[0] == min(on_val) < on_val[-1]
    assert val_nll(spec, trained.state) == pytest.approx(on_val[0], rel=1e-3)


def test_val_ends_a_plateau(train):
    swap_classes_of("val")
    quick = {"train__epochs": 6, "train__lr": 3e-4, "train__patience": 1, "train__factor": 0.5}
    history = train(train__schedule="plateau", **quick)[1].history
    rates, on_train, on_val = ([row[column] for row in history] for column in (2, 3, 4))
    assert on_train == sorted(on_train, reverse=True)  # which would never lower the rate
    assert on_val == sorted(on_val)
    assert rates[:3] == [3e-4] * 3
    assert rates[-1] <= 1.5e-4


def test_moving_average_is_what_is_measured_and_released(train):
    options = {"train__schedule": "none", "train__lr": 0.003}
    _, plain = train(train__select="last", **options)
    spec, averaged = train(train__select="ema", **options)
    assert not equal(averaged.state, plain.state)
    losses = [row[4] for row in averaged.history]
    assert losses != [row[4] for row in plain.history]
    assert val_nll(spec, averaged.state) == pytest.approx(losses[-1], rel=1e-4)


def test_training_curve_is_measured_on_images_drawn_from_all_of_train(train, monkeypatch):
    """As many as val has, also where the data set has one class after the other."""
    data = load_dataset()
    table = [list(row.values())[1:] for row in read_csv(dataset.LABELS)]
    order = sorted(range(len(table)), key=lambda row: (table[row][1], row))
    dataset.save_dataset(np.array(data.images)[order], [table[row] for row in order], data.reading)
    measured = []
    monkeypatch.setattr(
        "cxr.training.member.measure_epoch",
        lambda p, labels: measured.append(labels) or measure_epoch(p, labels),
    )
    train(train__epochs=1)
    on_train, on_val = measured
    assert len(on_train) == len(on_val) == 40
    assert 8 <= np.sum(on_train == 0) <= 24  # 40 of 100 images of train are normal


def test_members_and_phases_draw_their_own_random_numbers(train, monkeypatch):
    seeds, initial = [], []

    class Recorded(Phase):
        def __init__(self, module, *arguments):
            super().__init__(module, *arguments)
            seeds.append(self.generator.initial_seed())
            initial.append(module.state_dict()["head.weight"].clone())

    monkeypatch.setattr("cxr.training.member.Phase", Recorded)
    for member in range(3):
        train(member=member, train__epochs=1, finetune__epochs=1)
    assert len(seeds) == len(set(seeds)) == 6
    first, second, third = initial[::2]
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


@pytest.mark.parametrize("select", ["val_nll", "ema"])
def test_interrupted_member_ends_with_the_same_weights(train, select):
    """After the first epoch, between the phases, and in the second one, of which the base is frozen."""
    options = {"train__select": select, "finetune__epochs": 2, "finetune__trainable": "head"}
    options |= {"finetune__lr": 0.003, "train__lr": 0.003}
    _, whole = train(**options)

    class KilledError(Exception):
        pass

    for last in (1, 3, 4):
        ticks = iter(range(last - 1))

        def tick(ticks=ticks):
            if next(ticks, None) is None:
                raise KilledError

        with pytest.raises(KilledError):
            train(resume="key", tick=tick, **options)
    _, resumed = train(resume="key", **options)
    assert resumed.history == whole.history
    assert equal(resumed.state, whole.state)


def test_input_is_normalised_by_the_training_images_alone(train):
    data = load_dataset()
    images = np.array(data.images)
    for split in ("val", "test"):
        images[data.rows(split)] = 255
    dataset.write_npy(dataset.IMAGES, images)
    grey = images[data.rows("train")] / 255
    spec, _ = train(train__epochs=1)
    assert (spec.mean, spec.std) == ([pytest.approx(grey.mean())], [pytest.approx(grey.std(), abs=1e-5)])


@pytest.mark.parametrize("select", ["last", "val_nll", "val_auc", "ema"])
def test_second_phase_that_is_worse_is_not_released(train, select):
    good = {"train__select": select, "train__lr": 0.003}
    # No difference between the classes; with one, even a diverged network can separate them.
    dataset.write_npy(dataset.IMAGES, noise_images(148))
    first = train(**good)[1]
    both = train(**good, finetune__epochs=1, finetune__lr=30.0, finetune__optimiser="adam")[1]
    assert len(both.history) == 4
    assert equal(both.state, first.state)


def test_early_stopping_ends_a_phase(train):
    _, stopped = train(
        train__epochs=12,
        train__lr=1e-12,
        train__schedule="none",
        train__early_stopping=2,
        train__select="val_accuracy",
    )
    assert len(stopped.history) < 12


def test_best_epoch_is_released(train):
    spec, trained = train(train__epochs=5, train__select="val_nll", train__lr=0.05)
    losses = [row[4] for row in trained.history]
    assert val_nll(spec, trained.state) == pytest.approx(min(losses), rel=1e-3)


def test_one_logit_learns_two_classes(train):
    spec, trained = train(train__loss="bce", train__epochs=6)
    assert trained.state["head.weight"].shape[0] == spec.logits == 1
    assert trained.history[-1][6] > 0.8  # val accuracy
    assert val_nll(spec, trained.state) == pytest.approx(trained.history[-1][4], rel=1e-4)


def test_subclasses_are_summed_where_weights_are_selected(train):
    data = load_dataset()
    names = [f"{data.classes[data.labels[row]]}_{row % 2}" for row in data.rows("train")]
    spec, trained = train(imbalance__strategy="decompose", subclasses=names)
    assert spec.outputs == ["normal_0", "normal_1", "sick_0", "sick_1"]
    assert val_nll(spec, trained.state) == pytest.approx(trained.history[-1][4], rel=1e-4)


def test_specification_is_that_of_the_parameters(train):
    changes = {"tta": "flip_zoom", "normalisation": "local", "hidden": 5, "dropout": 0.1, "input_size": 20}
    plain = {"train__epochs": 1, "imbalance__strategy": "none"}
    spec, _ = train(**plain, **{f"model__{name}": value for name, value in changes.items()})
    assert {name: getattr(spec, name) for name in changes} == changes
    assert spec.prior == [0.4, 0.6]


def test_one_logit_for_three_outputs_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (9, 9, 9), "val": (3, 3, 3), "test": (3, 3, 3)}, ["normal", "sick", "tb"])
    write_params(tmp_path, {"train.loss": "bce"})
    with refused(
        "train.loss is bce, one logit, but there are 3 outputs: normal, sick, tb; set it to cross_entropy"
    ):
        named = Subclasses.named([""] * 27)
        prepare(load_params(), load_dataset(), load_dataset().rows("train"), named, CPU)


def test_features_of_copies_are_those_of_the_network():
    model, images = small_classifier(members=1), torch.from_numpy(noise_images(70))
    network, preprocess = model.members[0], model.spec.preprocess
    with torch.inference_mode():
        expected = network.eval().features(preprocess(to_grey(images)))
    clean = unaugmented_features(network, images, preprocess, "float32")
    torch.testing.assert_close(clean, expected, atol=1e-5, rtol=1e-4)
    plain = augmented_features(network, images, augmentation(views=2), preprocess, "float32", 0)
    torch.testing.assert_close(plain.copies, expected.expand(2, *expected.shape), atol=1e-5, rtol=1e-4)
    varied = augmented_features(network, images, augmentation(views=2, shift=0.2), preprocess, "float32", 0)
    assert not torch.allclose(varied.copies[0], varied.copies[1])
    again = augmented_features(network, images, augmentation(views=2, shift=0.2), preprocess, "float32", 0)
    assert torch.equal(varied.copies, again.copies)
    torch.testing.assert_close(HeadOnly(network)(clean), network.head(clean))


def test_each_image_gets_one_of_its_copies():
    copies = torch.arange(3 * 10).view(3, 10, 1).float()
    features, rows = AugmentedFeatures(copies), torch.arange(10).repeat(30)
    drawn = features(rows, torch.Generator().manual_seed(0))[:, 0]
    assert torch.equal(drawn % 10, rows.float())
    counts = np.bincount((drawn // 10).long().numpy())
    assert len(counts) == 3
    assert counts.min() > 70


def test_full_memory_of_the_device_is_one_line(train, monkeypatch):
    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("cxr.training.loop.Phase.epoch", full)
    with refused("params.yaml: train.batch_size is 20, too large for the memory of the device", "lower it"):
        train()


@pytest.fixture
def no_epoch(monkeypatch):
    """An epoch of training fails the test."""
    monkeypatch.setattr("cxr.training.loop.Phase.epoch", lambda _: pytest.fail("an epoch was trained"))


@pytest.mark.parametrize("section", ["train", "finetune"])
def test_unknown_module_is_an_error_before_the_first_epoch(train, no_epoch, section):
    with refused(f"params.yaml: {section}.trainable names block9", "block1"):
        train(finetune__epochs=1, **{f"{section}__trainable": ["block9"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__backbone": "compact"}, "model.backbone is compact, but there is no such backbone"),
        (
            {"model__backbone": "squeezenet1_1", "model__input_size": 16},
            "model.input_size: squeezenet1_1 takes",
        ),
        ({"model__weights": "imagenet"}, "model.weights is imagenet, but compact_cnn has none"),
        ({"model__weights": "file:own.pth"}, "model.weights is file:own.pth, but CXR_MIRROR"),
    ],
)
def test_unsuitable_backbone_is_an_error_before_the_first_epoch(train, no_epoch, changes, message):
    with refused(f"params.yaml: {message}"):
        train(**changes)


def test_one_network_is_built(train, monkeypatch):
    builds = []
    monkeypatch.setattr(
        "cxr.models.classifier.build_backbone",
        lambda *args, **options: builds.append(args) or build_backbone(*args, **options),
    )
    train(train__epochs=1, finetune__epochs=1)
    assert builds == [("compact_cnn",)]


def test_second_phase_has_its_own_section_and_takes_the_rest_from_the_first(tmp_path):
    """A plateau of the second phase has the factor and the patience of the first."""
    first = {"train.schedule": "step", "train.factor": 0.3, "train.patience": 4, "train.batch_size": 7}
    second = {"finetune.epochs": 2, "finetune.schedule": "plateau", "finetune.lr": 0.02}
    params = load_params(write_params(tmp_path, first | second))
    chosen = phases(params)
    assert list(chosen) == ["train", "finetune"]
    assert chosen["train"] == params.train
    assert dict(params.finetune).items() <= dict(chosen["finetune"]).items()
    assert (chosen["finetune"].factor, chosen["finetune"].patience) == (0.3, 4)
    assert chosen["finetune"].batch_size == 7
    assert list(phases(params.replace(finetune=params.finetune.replace(epochs=0)))) == ["train"]


def test_members_share_no_seed():
    seeds = {member_seed(seed, member) for seed in range(60) for member in range(60)}
    assert len(seeds) == 3600
    assert all(0 <= seed < 2**63 for seed in seeds)  # what both of PyTorch's generators take
