"""Train the members of the ensemble in parallel and release them together as one classifier."""

import torch

from cxr.core.dataset import IMAGES, LABELS, load_dataset
from cxr.core.device import configure, has_bf16
from cxr.core.errors import run
from cxr.core.files import write_csv
from cxr.core.log import open_log
from cxr.core.resuming import resume_key
from cxr.models.classifier import save_members
from cxr.params import load_params
from cxr.training.checkpoints import checkpoint_path, clear_checkpoints
from cxr.training.distributed import train_members
from cxr.training.history import HISTORY, HISTORY_COLUMNS, HistoryBar
from cxr.training.member import MemberTask, prepare
from cxr.training.probe import ProbeTask
from cxr.training.targets import SUBCLASSES, load_subclasses


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    rows = data.rows("train")
    spec, targets = prepare(params, data, rows, load_subclasses(data), device)
    log = open_log("train")
    log.info("torch %s on %s, %d radiographs, outputs %s", torch.__version__, device, len(rows), spec.outputs)
    log.info("precision %s (train.precision: %s)", spec.precision, params.train.precision)
    if spec.precision == "bf16" and not has_bf16(device):
        print("no bf16 instructions here: train.precision auto would choose float32, which is faster")

    # Not of params.compute.workers, on which no byte depends, and of what `auto` has come to.
    settings = [params.seed, device.type, params.compute.threads, spec.precision]
    settings += [params.imbalance, params.model, params.augment, params.train, params.finetune]
    resume = resume_key(settings, [IMAGES, LABELS, SUBCLASSES])
    if kept := [str(number) for number in range(spec.members) if checkpoint_path(resume, number).is_file()]:
        print(f"resuming an interrupted training: members {', '.join(kept)} go on after their last epoch")
    kind = ProbeTask if spec.encoder else MemberTask
    task = kind(params, spec, targets, rows, device, resume)
    epochs = 1 if spec.encoder else params.train.epochs + params.finetune.epochs
    steps = spec.members * epochs
    with HistoryBar(resume, spec.members, total=steps, desc="train", unit="epoch", disable=None) as bar:
        trained = train_members(task, bar)
    if not trained:
        return  # the first process of torchrun does the rest

    save_members(spec, [member.state for member in trained])
    write_csv(HISTORY, HISTORY_COLUMNS, [row for member in trained for row in member.history])
    for number, member in enumerate(trained):
        last = dict(zip(HISTORY_COLUMNS, member.history[-1], strict=True))
        print(f"member {number}: val accuracy {last['val_accuracy']:.4f}, val log loss {last['val_nll']:.4f}")
        if member.note:
            print(member.note)
    print(f"trained in {spec.precision}")
    clear_checkpoints()


if __name__ == "__main__":
    run(main)
