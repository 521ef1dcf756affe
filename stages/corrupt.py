"""Predict the test radiographs as they are and under each corruption, before calibration.

A stage of its own, since this takes most of the time of a run's evaluation and depends on neither the
calibration nor the threshold: a change of these repeats `robustness` alone, which takes seconds.

Test-time augmentation is off, for uncorrupted radiographs too: averaging six augmented copies would take
minutes more. On uncorrupted radiographs it makes hardly a difference, on corrupted ones it does: with six
copies, Gaussian noise of severity 3 adds half as many errors, and blur of severity 2 a quarter more.
"""

import numpy as np

from cxr.core.dataset import load_dataset
from cxr.core.device import configure
from cxr.core.errors import run
from cxr.core.files import write_npy
from cxr.evaluation.corruptions import CORRUPTED, KINDS, SEVERITIES, corrupt
from cxr.models.classifier import load_classifier, predict
from cxr.params import load_params


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    data = load_dataset()
    model = load_classifier().with_tta("none")
    images = data.images[data.rows("test")]
    conditions = [predict(model, images, device).mean]
    for kind in KINDS:
        for severity in SEVERITIES:
            conditions.append(predict(model, corrupt(images, kind, severity), device).mean)
    write_npy(CORRUPTED, np.stack(conditions))
    print(f"{len(images):,} test radiographs under {len(KINDS)} corruptions of {len(SEVERITIES)} severities")


if __name__ == "__main__":
    run(main)
