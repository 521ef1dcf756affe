"""The shares of several processes add up to what one process does; what they cannot do together is refused.

Without processes: each share's loss is computed one after the other. tests/training/test_distributed.py has
the processes.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cxr.core.dataset import load_dataset
from cxr.params import load_params
from cxr.training import distributed
from cxr.training.distributed import train_members
from cxr.training.freezing import freeze
from cxr.training.inputs import AugmentedImages
from cxr.training.loop import Phase
from cxr.training.member import MemberTask, prepare
from cxr.training.share import ALONE, Share
from cxr.training.targets import Subclasses, Targets
from tests.builders import (
    augmentation,
    noise_images,
    refused,
    settings,
    small_classifier,
    write_packed,
    write_params,
)

CPU = torch.device("cpu")
LABELS = np.arange(11, dtype=np.int64) % 3 // 2


@pytest.fixture(autouse=True)
def first_process_agrees(monkeypatch):
    """Every share is in this process, so the first one's value is at hand."""
    monkeypatch.setattr(Share, "agreed", lambda share, value: value)


def gradients(share: Share, train: dict, **targets) -> dict[str, torch.Tensor]:
    """Of the loss of one batch of 11 images."""
    model = small_classifier(1, backbone="small_cnn", dropout=0.0)
    images = torch.from_numpy(noise_images(11))
    plain = {"weights": np.ones(2, np.float32), "offsets": np.zeros(2, np.float32)}
    chosen = settings("train", batch_size=11, **{"label_smoothing": 0.0} | train)
    inputs = AugmentedImages(images, augmentation(noise=0.2), model.spec.preprocess)
    every = Targets(["0", "1"], np.arange(2), LABELS, **(plain | targets))
    phase = Phase(model.members[0], inputs, every, chosen, "float32", 0, share)
    torch.manual_seed(0)  # of the weight of mixup, which the first process draws
    phase._loss(phase.inputs(torch.arange(11), phase.generator), phase.labels).backward()
    return {name: weight.grad for name, weight in phase.module.named_parameters()}


@pytest.mark.parametrize(
    ("count", "train", "targets"),
    [
        (2, {}, {}),
        (3, {"label_smoothing": 0.2}, {"weights": np.array([0.2, 1.8], np.float32)}),
        (3, {"mixup": 0.4}, {"weights": np.array([0.2, 1.8], np.float32), "gamma": 2.0}),
    ],
    ids=["plain", "class weights", "mixup"],
)
def test_mean_gradient_of_all_shares_is_that_of_the_whole_batch(count, train, targets):
    """Also of a batch that the processes cannot divide evenly."""
    whole = gradients(ALONE, train, **targets)
    parts = [gradients(Share(rank, count), train, **targets) for rank in range(count)]
    for name, expected in whole.items():
        mean = torch.stack([part[name] for part in parts]).mean(dim=0)
        assert (mean - expected).norm() < 1e-6 * expected.norm(), name
    assert any(not torch.allclose(parts[0][name], parts[1][name], rtol=0.01) for name in whole)


def test_every_row_has_one_process():
    batch = torch.arange(11)
    shares = [Share(rank, 4).own(batch) for rank in range(4)]
    assert torch.cat(shares).tolist() == batch.tolist()
    assert [len(share) for share in shares] == [3, 3, 3, 2]


def test_dropout_differs_between_processes_and_the_first_has_that_of_one():
    assert len({Share(rank, 4).seed(7) for rank in range(4)}) == 4
    assert Share(0, 4).seed(7) == ALONE.seed(7) == 7
    assert Share(1, 4).seed(7) == Share(1, 2).seed(7) != Share(1, 4).seed(8)


def test_batch_normalisation_on_cpus_is_refused_where_it_would_see_a_share_of_the_batch():
    network = small_classifier(1).members[0]
    freeze(network, "all")
    ALONE.check(network, "compact_cnn")
    with refused("params.yaml: train.processes is 2, but compact_cnn has batch normalisation", "set it to 1"):
        Share(0, 2).check(network, "compact_cnn")
    freeze(network, ["block3"])
    with refused("train.processes is 2, but compact_cnn has batch normalisation"):
        Share(0, 2).check(network, "compact_cnn")
    freeze(network, "head")  # its statistics are kept
    Share(0, 2).check(network, "compact_cnn")
    network.base = nn.SyncBatchNorm.convert_sync_batchnorm(network.base)  # as on GPUs
    freeze(network, "all")
    Share(0, 2).check(network, "compact_cnn")


def test_a_batch_smaller_than_the_number_of_processes_is_refused():
    with refused("params.yaml: train.processes is 12, but a batch has 11 images"):
        gradients(Share(0, 12), {})


@pytest.fixture
def task(tmp_path, monkeypatch) -> MemberTask:
    """For the default's network, with two processes."""
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (8, 8), "val": (4, 4), "test": (4, 4)}, ["normal", "sick"])
    write_params(tmp_path, {"train.processes": 2, "train.members": 1, "compute.device": "cpu"})
    params, data = load_params(), load_dataset()
    rows = data.rows("train")
    spec, targets = prepare(params, data, rows, Subclasses.named([""] * len(rows)), CPU)
    return MemberTask(params, spec, targets, rows, CPU)


def test_torchrun_has_to_start_as_many_processes_as_params_say(task, monkeypatch):
    monkeypatch.setenv(distributed.TORCHRUN, "none")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with refused("params.yaml: train.processes is 2, but torchrun has started 3"):
        train_members(task, None)


def test_more_processes_than_gpus_are_refused(task, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with refused("params.yaml: train.processes is 2, but PyTorch finds 1 GPUs on this machine"):
        train_members(replace(task, device=torch.device("cuda")), None)


def test_a_probe_needs_one_process(task, monkeypatch):
    """Its head is a logistic regression, which depends on no setting of the section train."""
    monkeypatch.setattr(distributed, "side_by_side", lambda task, count, *_: [count])
    probe = replace(task, spec=replace(task.spec, encoder="an encoder"))
    assert train_members(probe, None) == [1]


def test_a_lost_connection_is_one_line(monkeypatch):
    waited = []
    monkeypatch.setattr(distributed.time, "sleep", waited.append)
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *_, **__: None)
    lost = RuntimeError(
        "[/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:1: Connection reset by peer"
    )
    with (
        refused("process 1 of 2 (train.processes in params.yaml) has lost the connection"),
        distributed.process_group("env://", Share(1, 2), CPU),
    ):
        raise lost
    assert waited == [distributed.PATIENCE]  # in which whoever started it may tell the cause
    with pytest.raises(RuntimeError, match="shapes"), distributed.process_group("env://", Share(1, 2), CPU):
        raise RuntimeError("shapes cannot be multiplied")
