"""Do Grad-CAM maps of the default recipe lie on the opacities? Measured where these are known: on phantoms.

    python -m benchmarks.pointing_game

1. Trains MEMBERS members by params.yaml, but for EPOCHS epochs, on PHANTOMS synthetic radiographs in
   build/pointing, and plays the pointing game of `cxr.evaluation.pointing` on the opacities of their test
   split, with these networks and with the same ones before training (random weights).
2. Adds the opacities of synthetic radiographs to the normal radiographs of test, and plays the game with the
   released classifier (after `dvc repro explain` on real radiographs of two classes). Beside it, whether its
   log odds rise, and whether they rise as much if the same grey levels are added elsewhere.

Writes docs/pointing.md. Two minutes on two idle cores.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from cxr.core.dataset import hash_images, load_dataset, load_opacities, save_dataset
from cxr.core.device import configure
from cxr.core.engine import side_by_side
from cxr.data.phantom.cohort import make_phantoms
from cxr.evaluation.acquisition import cross_validated, shortcut_conflicting
from cxr.evaluation.pointing import VISIBLE, point_at_opacities
from cxr.evaluation.sanity import randomised
from cxr.evaluation.statistics import Z
from cxr.inference.calibration import load_calibration
from cxr.models.classifier import Classifier, build_member, load_classifier, predict
from cxr.params import Params, load_params
from cxr.training.member import MemberTask, prepare
from cxr.training.targets import Subclasses
from stages.download import make_synthetic

MEMBERS, EPOCHS, PHANTOMS = 2, 16, 2000
FOLDER = Path("build/pointing")
PAGE = Path("docs/pointing.md")
CPU = torch.device("cpu")
TEXT = """\
# Do Grad-CAM maps lie on the opacities?

Written by `python -m benchmarks.pointing_game`. Nobody has outlined the opacities of the real radiographs
of this repository; those of synthetic radiographs are known to the pixel.

- *Hit* (pointing game, [Zhang et al., 2018](https://doi.org/10.1007/s11263-017-1059-x)): the maximum of the
  map of pneumonia lies in the opacity, or at most {tolerance} px from it. *Energy* ([Wang et al.,
  2020](https://arxiv.org/abs/1910.01279)): the proportion of the heat inside of the opacity.
- An opacity is where {visible} grey levels or more of 255 are added. Radiographs without such a pixel do
  not count.
- Chance levels: *uniform*, a map that knows nothing (the area); *shuffled*, the maps of the other
  radiographs, which prefer the same regions but do not know this radiograph.
- Parentheses: 95 % interval over radiographs.

## Trained and tested on synthetic radiographs

The default recipe (`{backbone}`, {size} px; {members} members, {epochs} epochs) on {phantoms:,} synthetic
radiographs in all three splits. Test AUC {auc:.3f}; {shown} test radiographs with an opacity.

{method}
## The released classifier, opacities added to real radiographs

To each of {normals} normal test radiographs of {source} the opacities of one synthetic radiograph were
added, in the same place (the lungs of the two do not match exactly). {planted} have a visible opacity.

{released}
Does the classifier react to it? The change of the log odds of pneumonia, and the proportion of radiographs
in which they rise, beside controls that add the same grey levels elsewhere:

{reaction}
A classifier that looks for opacities reacts to the first row and not to the others. The added opacities are
simulated, and a real pneumonia changes more of a radiograph than the grey levels of one region.
"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    params, page = load_params(), PAGE.resolve()
    configure("cpu", params.compute.threads)
    facts = add_to_normals(load_classifier(), params)
    params = params.replace(
        train=params.train.replace(members=MEMBERS, epochs=EPOCHS),
        phantom=params.phantom.replace(images=PHANTOMS, classes=2),
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.chdir(FOLDER)  # members read the data set of the working directory
    draw(params)
    facts |= play(params, train(params))
    constants = {"members": MEMBERS, "epochs": EPOCHS, "phantoms": PHANTOMS, "visible": VISIBLE}
    page.write_text(TEXT.format(**facts, **constants), encoding="utf-8")
    print(page.read_text(encoding="utf-8"))


def draw(params: Params) -> None:
    """The data set in the working directory."""
    raw = make_synthetic(params.phantom, params.download.size)
    columns = (raw.splits, raw.classes, raw.sources, hash_images(raw.images), raw.patients)
    save_dataset(raw.images, list(zip(*columns, strict=True)), "plain", raw.opacities)


def train(params: Params) -> Classifier:
    device, data = configure(params.compute.device, params.compute.threads), load_dataset()
    rows = data.rows("train")
    names = np.array(data.classes)[data.labels[rows]].tolist()
    right = cross_validated(data.images[rows], data.labels[rows], groups=rows)  # each is a patient
    subclasses = Subclasses(names, shortcut_conflicting(right, data.labels[rows]))
    spec, targets = prepare(params, data, rows, subclasses, device)
    task = MemberTask(params, spec, targets, rows, device)
    with tqdm(total=MEMBERS * EPOCHS, desc="train", unit="epoch", disable=None) as bar:
        trained = side_by_side(task, MEMBERS, params.compute, bar)
    members = [build_member(spec) for _ in trained]
    for member, result in zip(members, trained, strict=True):
        member.load_state_dict(result.state)
    return Classifier(spec, members).eval()


def play(params: Params, model: Classifier) -> dict[str, Any]:
    """The facts of the first part."""
    data, opacities = load_dataset(), load_opacities()
    assert opacities is not None  # of synthetic radiographs they are known
    rows = data.rows("test")
    test = (data.images[rows], data.labels[rows], opacities[rows], params.evaluate.bootstrap, CPU)
    games = {
        "trained": point_at_opacities(model, *test),
        "random weights": point_at_opacities(randomised(model, "all", 0), *test),
    }
    return {
        "backbone": model.spec.backbone,
        "size": model.spec.size,
        "auc": roc_auc_score(data.labels[rows], predict(model, data.images[rows], CPU).mean[:, 1]),
        "shown": games["trained"]["images"],
        "tolerance": games["trained"]["tolerance"],
        "method": table(games),
    }


def add_to_normals(model: Classifier, params: Params) -> dict[str, Any]:
    """The facts of the second part."""
    data, calibration = load_dataset(), load_calibration()
    if len(data.classes) != 2 or params.download.source == "phantom":
        raise SystemExit("error: the second part needs the run of a real data set of two classes")
    rows = data.rows("test")
    rows = rows[data.labels[rows] == 0]
    normals = data.images[rows]
    opacities = make_phantoms((0, len(rows)), model.spec.size, params.phantom.seed, "test").opacities
    pixels = np.random.default_rng(0).permuted(opacities.reshape(len(rows), -1), axis=1)
    variants = {
        "opacity": opacities,
        "opacity moved down by half an image, out of the lungs": np.roll(
            opacities, model.spec.size // 2, axis=1
        ),
        "its pixels in random order": pixels.reshape(opacities.shape),
    }
    combined = {name: added(normals, levels) for name, levels in variants.items()}
    visible = combined["opacity"] - normals  # less than the opacity where the radiograph saturates
    positive, resamples = np.ones(len(rows), int), params.evaluate.bootstrap

    def log_odds(images: np.ndarray) -> np.ndarray:
        return logit(calibration(predict(model, images, CPU).mean)[:, 1])

    before, lines = log_odds(normals), ["| Added | Change of log odds | Rise |", "|---|---|---|"]
    for name, images in combined.items():
        change = log_odds(images) - before
        half = Z * change.std(ddof=1) / np.sqrt(len(change))
        lines.append(
            f"| {name} | {change.mean():+.2f} ({change.mean() - half:+.2f} to {change.mean() + half:+.2f}) "
            f"| {(change > 0).mean():.1%} |"
        )
    game = point_at_opacities(model, combined["opacity"], positive, visible, resamples, CPU)
    assert game is not None
    blind = point_at_opacities(model, normals, positive, visible, resamples, CPU)
    return {
        "normals": len(rows),
        "source": params.download.source,
        "planted": game["images"],
        "released": table({"with the opacity": game, "the same radiographs without it": blind}),
        "reaction": "\n".join(lines) + "\n",
    }


def added(images: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(N, H, W) uint8: the sum, at most 255."""
    return np.minimum(images.astype(int) + levels, 255).astype(np.uint8)


def table(games: dict[str, Any]) -> str:
    lines = [
        "| Maps | Hit | uniform | shuffled | Energy | uniform | shuffled | Empty maps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, game in games.items():
        cells = [name]
        for score in (game["hit"], game["energy"]):
            cells.append(f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})")
            cells += [f"{score['uniform']:.3f}", f"{score['shuffled']:.3f}"]
        lines.append(f"| {' | '.join(cells)} | {game['empty']:.1%} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
