"""Colours and fonts of all figures, and PNG files whose bytes depend on their content alone.

Colours are Okabe and Ito's, which stay apart for colour-blind readers (https://jfly.uni-koeln.de/color/).
"""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from cxr.core.files import atomic

HEAT = "viridis"  # even in lightness, so that it reads in grey and for colour-blind eyes
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")

mpl.use("Agg")
mpl.rcParams.update(
    {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100}
)


def save_figure(figure: Figure, path: Path | str) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
