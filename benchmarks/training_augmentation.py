"""The cost of augmentation at the network's size, and of a frozen base that sees new copies in every epoch.

    python -m benchmarks.training_augmentation

Milliseconds of processor time a radiograph on one thread: augmentation and preprocessing of 28-pixel
radiographs with the settings of a recipe, at the stored size and at that of its network's input, beside one
training step of its network (random weights, float32); and for `inception_frozen` the minutes of all its
epochs on PneumoniaMNIST with `augment.views` 2 (each copy passes through the frozen base once) and 0 (a new
copy in every epoch).

With torch 2.15 on one core, beside other processes: maxvit_decomposition 1.2 ms at the stored size, 2.6 ms at
224 pixels, of 644 ms for a training step; inception_frozen 1.0 ms, 2.6 ms at 299 pixels, of 99 ms. So the
published place of augmentation costs 0.2 % and 1.6 %. inception_frozen takes 18 minutes with `augment.views`
2, 97 with 0, both in float32; `train.precision` bf16 is faster.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from cxr.models.backbones import build_backbone
from cxr.models.network import Network
from cxr.models.preprocess import Preprocess
from cxr.params import Augment
from cxr.recipes import recipe_values
from cxr.training.freezing import freeze, train_mode
from cxr.training.inputs import AugmentedImages

IMAGES, STEP, ROUNDS = 64, 4, 2
TRAIN, VAL = 4708, 524  # radiographs of PneumoniaMNIST
SIZES = {"maxvit_decomposition": 224, "inception_frozen": 299}


def best(work: Callable[[], object], images: int) -> float:
    """Milliseconds an image, the fastest of `ROUNDS`."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds) / images


def cost(inputs: AugmentedImages) -> float:
    """Milliseconds an image."""
    generator = torch.Generator().manual_seed(0)
    return best(lambda: inputs(torch.arange(IMAGES), generator), IMAGES)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8))
    print(f"torch {torch.__version__}, 1 thread")
    for name, size in SIZES.items():
        values = recipe_values(name)
        settings = Augment.model_validate(
            {key.partition(".")[2]: value for key, value in values.items() if key.startswith("augment.")}
        )
        preprocess = Preprocess(size, (0.5,) * 3, (0.5,) * 3)
        spent = {
            resolution: cost(AugmentedImages(images, settings.replace(resolution=resolution), preprocess))
            for resolution in ("stored", "input")
        }
        base = build_backbone(
            values["model.backbone"], weights="none", weights_sha256="none", size=size, stored_size=28
        )
        network = Network(base.base, base.dimensions, 2, values["model.dropout"], values["model.hidden"])
        network.to(memory_format=torch.channels_last)
        freeze(network, values["train.trainable"])
        x = AugmentedImages(images, settings, preprocess)(torch.arange(STEP), torch.Generator())

        def step(network: Network = network, x: torch.Tensor = x) -> None:
            train_mode(network)
            network(x).sum().backward()

        spent["training step"] = best(step, STEP)
        listed = ", ".join(f"{what} {milliseconds:.1f} ms" for what, milliseconds in spent.items())
        print(f"{name} ({size} pixels): {listed} a radiograph")
    epochs, copies = values["train.epochs"], values["augment.views"]
    each = (spent["input"] + spent["training step"]) / 60_000
    for views, passes in ((copies, copies * TRAIN + 2 * VAL), (0, epochs * (TRAIN + 2 * VAL))):
        print(f"{name}, augment.views {views}: {passes * each:.1f} minutes for {epochs} epochs, extrapolated")


if __name__ == "__main__":
    main()
