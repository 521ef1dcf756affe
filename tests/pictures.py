"""What a saved figure shows: its panels with their titles, and colours of its PNG at places of an image."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image


@dataclass(frozen=True)
class Panel:
    """An axes as it was saved. pixels: (H, W, 3) int of the whole PNG. box: left, bottom, width and height of
    the panel in it, from the lower left corner."""

    ax: Axes
    title: str
    pixels: np.ndarray
    box: tuple[float, float, float, float]

    def colour(self, x: float, y: float) -> np.ndarray:
        """(3,) int, 0 to 255: the PNG at a place from 0 to 1 from the left and from the top of the panel."""
        left, bottom, width, height = self.box
        return self.pixels[len(self.pixels) - 1 - int(bottom + (1 - y) * height), int(left + x * width)]

    def shown(self, size: int) -> np.ndarray:
        """(size, size, 3) int: the PNG at the centres of the pixels of an image of this size, as one sees
        it, whatever the direction of the axes."""
        centres = (np.arange(size) + 0.5) / size
        return np.array([[self.colour(x, y) for x in centres] for y in centres])

    def framed(self, colour: str) -> bool:
        """Whether the left border of the panel has the colour."""
        left, bottom, _, height = self.box
        row = len(self.pixels) - 1 - int(bottom + height / 2)
        strip = self.pixels[row, max(0, round(left) - 2) : round(left) + 2]
        return bool((np.abs(strip - np.array(to_rgb(colour)) * 255) < 2).all(axis=1).any())


@dataclass(frozen=True)
class Picture:
    figure: Figure
    pixels: np.ndarray
    panels: list[Panel]

    def titled(self, part: str) -> Panel:
        """The one panel whose title contains `part`."""
        (panel,) = [panel for panel in self.panels if part in panel.title]
        return panel


@contextmanager
def recorded() -> Iterator[dict[str, Picture]]:
    """The figures that are saved in the block, by the name of their file."""
    pictures: dict[str, Picture] = {}
    save = Figure.savefig

    def saving(self: Figure, target: Path, **options: Any) -> None:
        save(self, target, **options)
        pixels = np.asarray(Image.open(target).convert("RGB")).astype(int)
        panels = [Panel(ax, ax.get_title(), pixels, ax.get_window_extent().bounds) for ax in self.axes]
        # `cxr.core.files.atomic` writes to .<name>.<random>.png first.
        pictures[Path(target).name[1:].rsplit(".", 2)[0]] = Picture(self, pixels, panels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", saving)
        yield pictures


def cornered(size: int = 8, background: int = 60, corner: int = 220) -> np.ndarray:
    """(size, size) uint8, dark grey but for a bright block in the upper left corner that is wider than high:
    neither mirrored, nor upside down, nor transposed it is the same."""
    image = np.full((size, size), background, np.uint8)
    image[: size // 4, : size // 2] = corner
    return image


def is_grey(shown: np.ndarray, image: np.ndarray) -> bool:
    """Whether the colours, (S, S, 3), are the grey levels of the image, (S, S) uint8."""
    return bool((np.abs(shown - image[..., None].astype(int)) <= 1).all())
