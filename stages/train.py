"""Train the members of the ensemble side by side and ship them together as one classifier."""

import torch
from tqdm import tqdm

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.device import configure, emulates_bf16
from cxr.core.errors import run
from cxr.core.files import read_csv, write_csv
from cxr.models.classifier import Classifier, build_member, save_classifier
from cxr.params import load_params
from cxr.training.checkpoints import clear_checkpoints, resume_key
from cxr.training.log import open_log
from cxr.training.member import HISTORY_COLUMNS, MemberTask, prepare
from cxr.training.parallel import side_by_side

SUBCLASSES = "data/subclasses.csv"


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    train = data.rows("train")
    subclasses = [row["subclass"] for row in read_csv(SUBCLASSES)]
    spec, targets = prepare(params, data, train, subclasses)
    log = open_log("train")
    log.info(
        "torch %s on %s, %d radiographs, outputs %s", torch.__version__, device, len(train), spec.outputs
    )
    if params.train.precision == "bf16" and emulates_bf16(device):
        print("this processor has no bf16 arithmetic: train.precision float32 would be faster")

    settings = [params.seed, params.compute, params.imbalance, params.model, params.augment, params.train]
    resume = resume_key([*settings, params.finetune], [dataset.IMAGES, dataset.LABELS, SUBCLASSES])
    task = MemberTask(params, spec, targets, train, device, resume)
    # Members share the CPU threads evenly; a GPU trains them one after the other.
    threads = max(1, params.compute.threads // spec.members)
    workers = 1 if device.type == "cuda" else min(spec.members, params.compute.threads)
    epochs = params.train.epochs + params.finetune.epochs
    with tqdm(total=spec.members * epochs, desc="train", unit="epoch", disable=None) as bar:
        trained = side_by_side(task, spec.members, workers, threads, bar)

    networks = []
    for number, member in enumerate(trained):
        network = build_member(spec)
        network.load_state_dict(member.state)
        networks.append(network)
        last = dict(zip(HISTORY_COLUMNS, member.history[-1], strict=True))
        print(f"member {number}: val accuracy {last['val_accuracy']:.4f}, val nll {last['val_nll']:.4f}")
    save_classifier(Classifier(spec, networks))
    write_csv("models/history.csv", HISTORY_COLUMNS, [row for member in trained for row in member.history])
    clear_checkpoints()


if __name__ == "__main__":
    run(main)
