"""Train the members of the ensemble in parallel and release them together as one classifier."""

import torch
from tqdm import tqdm

from cxr.core.dataset import IMAGES, LABELS, load_dataset
from cxr.core.device import bf16_is_emulated, configure
from cxr.core.errors import run
from cxr.core.files import write_csv
from cxr.models.classifier import save_members
from cxr.params import load_params
from cxr.training.checkpoints import checkpoint_path, clear_checkpoints, resume_key
from cxr.training.log import open_log
from cxr.training.member import HISTORY_COLUMNS, MemberTask, prepare
from cxr.training.parallel import side_by_side
from cxr.training.targets import SUBCLASSES, load_subclasses


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    rows = data.rows("train")
    spec, targets = prepare(params, data, rows, load_subclasses(data))
    log = open_log("train")
    log.info("torch %s on %s, %d radiographs, outputs %s", torch.__version__, device, len(rows), spec.outputs)
    if params.train.precision == "bf16" and bf16_is_emulated(device):
        print("this processor has no bf16 instructions: train.precision float32 would be faster")

    settings = [params.seed, params.compute, params.imbalance, params.model, params.augment, params.train]
    resume = resume_key([*settings, params.finetune], [IMAGES, LABELS, SUBCLASSES])
    if kept := [str(number) for number in range(spec.members) if checkpoint_path(resume, number).is_file()]:
        print(f"resuming an interrupted training: members {', '.join(kept)} go on after their last epoch")
    task = MemberTask(params, spec, targets, rows, device, resume)
    # Members divide the CPU threads evenly; a GPU trains them one after the other.
    threads = max(1, params.compute.threads // spec.members)
    workers = 1 if device.type == "cuda" else min(spec.members, params.compute.threads)
    epochs = params.train.epochs + params.finetune.epochs
    with tqdm(total=spec.members * epochs, desc="train", unit="epoch", disable=None) as bar:
        trained = side_by_side(task, spec.members, workers, threads, bar)

    save_members(spec, [member.state for member in trained])
    write_csv("models/history.csv", HISTORY_COLUMNS, [row for member in trained for row in member.history])
    for number, member in enumerate(trained):
        last = dict(zip(HISTORY_COLUMNS, member.history[-1], strict=True))
        print(f"member {number}: val accuracy {last['val_accuracy']:.4f}, val log loss {last['val_nll']:.4f}")
    clear_checkpoints()


if __name__ == "__main__":
    run(main)
