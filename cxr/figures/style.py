"""Colours and fonts of all figures, and PNG files whose bytes depend on their content alone.

One palette, of the colours of Okabe and Ito, which colour-blind readers can distinguish
(https://jfly.uni-koeln.de/color/), and grey. A class has the same colour in all figures, by its place in the
order of classes: with two of them the first is blue, the second orange. What is no class never has a class's
colour: `PLAIN` and `MARKED` distinguish two states (neighbour of the same or of another class, not
significant or significant, covered or not covered by augmentation), `SERIES` splits and the like.
"""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from cxr.core.files import atomic

HEAT = "viridis"  # of class activation maps: perceptually uniform, also in grey and for colour-blind readers
COLOURS = (  # of classes; from the seventh on of Paul Tol's muted scheme (https://sronpersonalpages.nl/~pault)
    *("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#F0E442"),
    *("#332288", "#882255", "#999933", "#117733", "#CC6677", "#661100", "#DDCC77", "#AAAAFF"),
)
PLAIN, MARKED, GREY = "#000000", "#CC79A7", "#999999"  # black, reddish purple
SERIES = (PLAIN, MARKED, GREY)

mpl.use("Agg")
mpl.rcParams.update(
    {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100}
)


def shortened(text: str, width: int) -> str:
    """`text` with at most `width` characters, for captions of small images: what is too much is left out
    before the end, by which names often differ."""
    end = min(5, width // 3)
    return text if len(text) <= width else f"{text[: width - 3 - end]}...{text[-end:]}"


def save_figure(figure: Figure, path: Path | str) -> None:
    """Write a PNG; raises `OSError` if `path` cannot be written."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
