"""Test for shift between train, val and test: whether a classifier can tell two of them apart."""

import numpy as np
from threadpoolctl import threadpool_limits

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.device import configure
from cxr.core.errors import run
from cxr.core.files import read_csv, write_json
from cxr.evaluation.shift import compare_splits, drawn_rows
from cxr.models.classifier import load_classifier, predict
from cxr.params import load_params


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    drawn = drawn_rows(data)
    model = load_classifier().with_tta("none")
    embeddings = predict(model, data.images[drawn], device).embeddings
    groups = np.array([row["group"] or row["sha256"] for row in read_csv(dataset.LABELS)])
    with threadpool_limits(1):  # the number of threads changes the order of sums, and so the bytes
        report = compare_splits(data, drawn, embeddings, groups[drawn])
    write_json("metrics/shift.json", report)
    for space, pairs in report.items():
        for pair, classes in pairs.items():
            values = ", ".join(f"{name} {result['auc']:.3f}" for name, result in classes.items())
            print(f"AUC of {pair.replace('_', ' against ')} by {space}: {values}")


if __name__ == "__main__":
    run(main)
