"""Where on a film a map's mass lies: upper, middle and lower zone of either side, and the midline.

Zones are fixed parts of the picture, no segmentation: thirds of its height, and left and right of a strip
around the middle that mostly shows spine, mediastinum and heart.
"""

import numpy as np

HEIGHTS = ("upper", "middle", "lower")
STRIP = (0.4, 0.6)  # of the width
MIDLINE = "midline"


def shares(heat: np.ndarray) -> dict[str, float]:
    """The share of the mass in each zone, such as "upper left", and on the "midline"; they add up to 1.

    heat: (S, S) float, 0 or more. Left and right are the picture's sides: a film hung the usual way shows
    the patient's right on its left. Empty if the map is 0 all over.
    """
    total = float(heat.sum(dtype=np.float64))
    if not total:
        return {}
    places = (np.arange(len(heat)) + 0.5) / len(heat)
    height = np.minimum((places * len(HEIGHTS)).astype(int), len(HEIGHTS) - 1)
    sides = {"left": places < STRIP[0], "right": places > STRIP[1]}
    found = {
        f"{name} {side}": float(heat[height == level][:, columns].sum(dtype=np.float64)) / total
        for level, name in enumerate(HEIGHTS)
        for side, columns in sides.items()
    }
    between = ~(sides["left"] | sides["right"])
    return found | {MIDLINE: float(heat[:, between].sum(dtype=np.float64)) / total}
