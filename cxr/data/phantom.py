"""Built-in synthetic chest films, so that the whole pipeline runs without a download.

A film is a sum of soft tissue, bone and air along the beam, drawn by whole-batch formulas in body
coordinates (x towards the patient's left, y towards the feet; the film spans about -1..1) and passed
through a film curve. Disease fills the lungs' air, so a consolidation beside the heart hides the
heart's border, as on a real film. The model is the paediatric AP set of Kermany et al. (2018).

These are not medical images: they show that a pipeline runs, never that a classifier works.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

CLASSES: tuple[str, ...] = ("normal", "pneumonia", "tuberculosis")
SPLITS: tuple[str, ...] = ("train", "val", "test")
MIN_SIZE, MAX_SIZE = 16, 512
MAX_FILMS_PER_PATIENT = 3

_MIN_GRID = 112  # smaller films are drawn on a multiple of their size, at least this, then area-averaged
_CHUNK_PIXELS = 2**18  # drawn at once: the working set stays in the processor's cache

Table = dict[str, tuple[float, float]]
Params = dict[str, np.ndarray]  # (films, 1, 1) float32 each

# Mean and standard deviation of every choice, in body units unless said otherwise. Drawn per patient:
PATIENT: Table = {
    "apex": (-0.74, 0.05),
    "width": (0.90, 0.05),
    "dome": (0.36, 0.06),  # right hemidiaphragm; the left one lies `dome_gap` lower
    "dome_gap": (0.06, 0.03),
    "dome_curve": (0.13, 0.03),
    "heart_left": (0.40, 0.07),
    "heart_right": (0.15, 0.05),
    "heart_y": (0.24, 0.05),
    "aortic_knob": (0.035, 0.02),
    "thymus": (0.05, 0.05),
    "vessels": (0.045, 0.014),
    "hila": (0.25, 0.15),
    "rib_pitch": (0.160, 0.011),
    "rib_arch": (0.38, 0.07),
    "rib_phase": (0.0, 0.5),
    "rib_bone": (0.12, 0.025),
    "spine_bone": (0.13, 0.035),
    "clavicle_slope": (0.42, 0.18),
    "shoulder": (-0.80, 0.08),
    "trunk": (1.02, 0.06),
    "chin": (-1.30, 0.15),
    "gas": (0.0, 0.11),  # gastric bubble, bowel gas: none where negative
    "gas_x": (0.42, 0.07),
    "bowel": (0.0, 0.08),
    "thickness": (0.0, 0.03),
}
# Drawn per film:
FILM: Table = {
    "dx": (0.0, 0.05),
    "dy": (0.0, 0.06),
    "tilt": (0.0, 0.035),  # radians
    "scale": (1.07, 0.07),
    "aspect": (1.0, 0.04),
    "skew": (0.0, 0.025),
    "turn": (0.0, 0.04),  # rotation about the long axis moves the mediastinum against the ribs
    "breath": (0.0, 0.03),
    "crowding": (0.05, 0.12),  # basal haze of a poor inspiration, in any class; so is general haze
    "haze": (0.08, 0.14),
    "severity": (0.67, 0.38),  # of the findings; without effect in normal films
    "exposure": (0.0, 0.17),
    "contrast": (1.0, 0.13),
    "unsharpness": (0.4, 0.25),
    "noise": (0.008, 0.004),  # at 224 pixels, of the full range
    "collimation": (-0.12, 0.08),  # width of the dark border: none where negative
    "letter": (0.3, 1.0),  # side letter, monitoring leads: none where negative
    "leads": (-1.6, 1.0),
}
# The test hospital: other exposure, pose and noise, subtler findings. Validation resembles training.
TEST_FILM: Table = FILM | {
    "tilt": (0.02, 0.05),
    "scale": (1.02, 0.09),
    "severity": (0.54, 0.34),
    "exposure": (-0.12, 0.24),
    "contrast": (0.92, 0.16),
    "noise": (0.014, 0.006),
}


class Pattern(NamedTuple):
    """How one kind of disease lies in the lungs; a pair is the range of a uniform draw."""

    label: int
    share: float  # of its class
    height: tuple[float, float]  # of the focus: 0 apex, 1 hemidiaphragm
    lateral: tuple[float, float]  # 0 midline, 1 chest wall
    scatter: float  # of the single opacities about the focus
    radius: tuple[float, float]
    amount: float
    bilateral: float  # chance of an opacity to lie in the other lung
    streaks: float  # growth of the interstitial markings
    haze: float  # over both lungs
    cavities: float  # chance of an opacity to be a ring with a dark centre


PATTERNS: tuple[Pattern, ...] = (
    Pattern(0, 1.00, (0.0, 1.0), (0.0, 1.0), 0.0, (0.1, 0.2), 0.0, 0.00, 0.0, 0.0, 0.0),
    # Lobar pneumonia, bronchopneumonia, interstitial pneumonia.
    Pattern(1, 0.40, (0.2, 0.9), (0.25, 0.75), 0.2, (0.16, 0.34), 1.3, 0.05, 0.1, 0.1, 0.0),
    Pattern(1, 0.35, (0.4, 0.8), (0.25, 0.70), 0.5, (0.10, 0.22), 1.2, 0.50, 0.3, 0.2, 0.0),
    Pattern(1, 0.25, (0.5, 0.6), (0.20, 0.40), 0.4, (0.20, 0.38), 0.6, 0.50, 0.6, 0.4, 0.0),
    # Cavitary tuberculosis, infiltrates.
    Pattern(2, 0.60, (0.1, 0.3), (0.30, 0.60), 0.2, (0.09, 0.18), 2.2, 0.25, 0.3, 0.0, 0.4),
    Pattern(2, 0.40, (0.1, 0.4), (0.25, 0.60), 0.3, (0.09, 0.22), 1.8, 0.40, 0.4, 0.0, 0.1),
)
_OPACITIES = 5
_SIDES = np.array([[-1], [1]], np.float32)  # the patient's right, left

# Side letters R and L, each one stroke of the pen in a unit square.
_LETTERS = (
    ((0, 1), (0, 0), (0.7, 0.05), (0.75, 0.4), (0, 0.5), (0.35, 0.5), (0.8, 1)),
    ((0, 0), (0, 1), (0.7, 1)),
)


@dataclass(frozen=True)
class Phantoms:
    """Synthetic films of one split.

    Attributes:
        images: (N, size, size) uint8, 0 black (air) to 255 white (bone).
        labels: (N,) int64, index into `CLASSES`.
        patients: (N,) int64, the simulated patient, unique over the splits of a seed; a patient has
            one class and at most `MAX_FILMS_PER_PATIENT` films of one anatomy.
    """

    images: np.ndarray
    labels: np.ndarray
    patients: np.ndarray


def make_phantoms(counts: Sequence[int], size: int, seed: int, split: str) -> Phantoms:
    """Draw `counts[c]` films of class `c`, in shuffled order.

    Equal arguments give equal bytes on one machine. Another `size` shows the same films, noise aside.
    The test split has other exposure, pose and noise and subtler findings than train and val.

    Args:
        counts: films per class, of the first two or of all three `CLASSES`; not negative.
        size: edge of the square films in pixels, `MIN_SIZE` to `MAX_SIZE`.
        seed: not negative; another seed shows other patients.
        split: "train", "val" or "test"; splits share neither patients nor random streams.

    Raises:
        ValueError: an argument is outside its range.
    """
    _check(counts, size, seed, split)
    key = SPLITS.index(split)
    labels, patients, visits = _cohort(counts, np.random.default_rng(_seeds(seed, key)))
    grid = size * math.ceil(_MIN_GRID / size)
    images = np.empty((len(labels), size, size), np.uint8)
    step = max(1, _CHUNK_PIXELS // grid**2)
    for start in range(0, len(labels), step):
        rows = slice(start, start + step)
        anatomy = _Streams(_seeds(seed, key, p) for p in patients[rows])
        visit = _Streams(_seeds(seed, key, p, v) for p, v in zip(patients[rows], visits[rows], strict=True))
        film = _film(anatomy, visit, labels[rows], grid, TEST_FILM if split == "test" else FILM)
        film = film.reshape(len(film), size, grid // size, size, grid // size).mean((2, 4))
        images[rows] = np.rint(film * 255)
    return Phantoms(images, labels, patients * len(SPLITS) + key)


def _check(counts: Sequence[int], size: int, seed: int, split: str) -> None:
    if len(counts) not in (2, len(CLASSES)):
        raise ValueError(f"counts: expected 2 or 3 class counts ({', '.join(CLASSES)}), got {len(counts)}")
    if min(counts) < 0:
        raise ValueError(f"counts: must not be negative, got {list(counts)}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size: expected {MIN_SIZE} to {MAX_SIZE} pixels, got {size}")
    if seed < 0:
        raise ValueError(f"seed: must not be negative, got {seed}")
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")


def _seeds(seed: int, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=key)


def _cohort(counts: Sequence[int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label, patient and number within the patient of each film: (N,) int64 each, shuffled."""
    total = sum(counts)
    labels = np.repeat(np.arange(len(counts)), counts)
    first = np.empty(total, np.int64)  # row of the first film of the same patient
    for label, count in enumerate(counts):
        films = rng.integers(1, MAX_FILMS_PER_PATIENT, count, endpoint=True)
        start = sum(counts[:label])
        first[start : start + count] = start + np.repeat(np.cumsum(films) - films, films)[:count]
    patients = rng.permutation(total)[first]  # shuffled: a patient's number must not tell the class
    visits = np.arange(total) - first
    order = rng.permutation(total)
    return labels[order], patients[order], visits[order]


class _Streams:
    """One random generator per film, so that neither chunks nor size change what a film shows."""

    def __init__(self, seeds: Iterable[np.random.SeedSequence]) -> None:
        self._rngs = [np.random.default_rng(s) for s in seeds]

    def normal(self, *shape: int) -> np.ndarray:
        return np.stack([r.standard_normal(shape, dtype=np.float32) for r in self._rngs])

    def uniform(self, *shape: int) -> np.ndarray:
        return np.stack([r.random(shape, dtype=np.float32) for r in self._rngs])

    def table(self, table: Table) -> Params:
        """One draw per entry, at most 2.5 standard deviations from its mean."""
        mean, deviation = np.array(list(table.values()), np.float32).T
        draws = mean + deviation * self.normal(len(table)).clip(-2.5, 2.5)
        return dict(zip(table, draws.T[..., None, None], strict=True))


def _film(anatomy: _Streams, visit: _Streams, labels: np.ndarray, grid: int, table: Table) -> np.ndarray:
    """(films, grid, grid) float32 in 0..1."""
    p = anatomy.table(PATIENT) | visit.table(table)
    at = _place(p, anatomy, grid)
    lung = _step(at.to_wall, 0.022) * _step(at.off_heart, 0.02) * _step(at.over_dome, 0.014)
    texture = 0.6 * _noise(visit, 12, grid) + 0.4 * _noise(visit, 40, grid)
    filling, streaks = _disease(anatomy, p, labels, texture)
    filling += np.maximum(p["crowding"], 0) * _bell(at.over_dome, 0.25) + np.maximum(p["haze"], 0)
    air = lung * np.exp(-filling) * (0.70 + 0.30 * np.sqrt(np.clip(at.to_wall / 0.3, 0, 1)))
    markings = np.maximum(p["vessels"], 0.01) * (1 + streaks) * _vessels(anatomy, p, grid)

    density = _soft_tissue(at, p) - 0.26 * air + (0.2 + 0.8 * lung) * (markings + 0.014 * texture)
    density += _ribs(at, p) * (0.4 + 0.6 * lung) + _spine(at, p) + _shoulders(at, p)
    density -= _airways(at) + _abdominal_gas(at, p, anatomy)
    muscle = (1 - lung) * _step(density - 0.1, 0.1)
    density += 0.015 * _noise(anatomy, 5, grid) + 0.012 * muscle * _noise(anatomy, 14, grid)
    return _expose(density + _attachments(visit, p, grid), visit, p)


def _step(distance: np.ndarray, width: float) -> np.ndarray:
    """A soft edge: 0 well below zero, 1 well above."""
    return 0.5 + 0.5 * np.tanh(distance * (1 / width))


def _bell(distance: np.ndarray, width: float) -> np.ndarray:
    scaled = distance * (1 / width)
    return np.exp(-scaled * scaled)


def _phase(number: np.ndarray) -> np.ndarray:
    """-0.5..0.5 from one element of a periodic structure (ribs, vertebrae) to the next."""
    return number - np.floor(number) - 0.5


def _axis(grid: int) -> np.ndarray:
    return (np.arange(grid, dtype=np.float32) + 0.5) * (2 / grid) - 1


def _noise(streams: _Streams, cells: int, grid: int) -> np.ndarray:
    """(films, grid, grid) of smooth unit-variance noise with `cells` independent values a side."""
    basis = _bell((_axis(grid)[:, None] - _axis(cells)) * (cells / 2), 0.85)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    return basis @ streams.normal(cells, cells) @ basis.T


def _blobs(
    u: np.ndarray, v: np.ndarray, radius: np.ndarray | float, amount: np.ndarray, grid: int
) -> np.ndarray:
    """(films, grid, grid) sum of Gaussian opacities, from (films, blobs, 1) film coordinates."""
    axis = _axis(grid)
    columns, rows = np.exp(-(((axis - u) / radius) ** 2)), np.exp(-(((axis - v) / radius) ** 2))
    return (np.swapaxes(amount * rows, 1, 2) @ columns).astype(np.float32)


def _trace(u: np.ndarray, v: np.ndarray, weight: np.ndarray, calibre: float, grid: int) -> np.ndarray:
    """(films, grid, grid) of curves of about unit height, from (films, curves, dots) film coordinates.

    `weight`, which broadcasts to the dots, is the length of curve that each stands for, times its height.
    """
    films = len(u)
    column, row = (u + 1) * (grid / 2) - 0.5, (v + 1) * (grid / 2) - 0.5
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    canvas = np.zeros(films * grid**2)
    for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        share = weight * (1 - np.abs(row - r)) * (1 - np.abs(column - c))
        seen = (r >= 0) & (r < grid) & (c >= 0) & (c < grid)
        pixel = (np.arange(films)[:, None, None] * grid + r) * grid + c
        canvas += np.bincount(pixel[seen], share[seen], films * grid**2)
    sigma = max(calibre * grid / 2, 0.5)
    lines = gaussian_filter(
        canvas.reshape(films, grid, grid).astype(np.float32), (0, sigma, sigma), truncate=3
    )
    return lines * np.float32(sigma * math.sqrt(2 * math.pi) * grid / 2)


class _Place(NamedTuple):
    """Where each pixel lies in the body; (films, grid, grid), distances positive on the lung's side."""

    x: np.ndarray
    y: np.ndarray
    ax: np.ndarray  # distance from the midline
    left: np.ndarray  # 0 on the patient's right, 1 on the left
    to_wall: np.ndarray  # chest wall
    off_heart: np.ndarray  # or the mediastinum above it
    over_dome: np.ndarray  # hemidiaphragm


def _place(p: Params, anatomy: _Streams, grid: int) -> _Place:
    u, v = _axis(grid) - p["dx"], _axis(grid)[:, None] - p["dy"]
    cos, sin = np.cos(p["tilt"]), np.sin(p["tilt"])
    x = (cos * u + sin * v) / p["scale"]
    y = (cos * v - sin * u) / (p["scale"] * p["aspect"]) + p["skew"] * u
    # The noise warps the body a little: no two outlines are alike.
    x = x + p["turn"] * (1 - np.minimum(x * x, 1)) + 0.012 * _noise(anatomy, 5, grid)
    y = y + 0.015 * _noise(anatomy, 5, grid)
    ax, left = np.abs(x), _step(x, 0.01)
    return _Place(x, y, ax, left, *_lung_borders(y, ax, left, p))


def _to_film(p: Params, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Film coordinates of (films, ..., ...) body coordinates: `_place` undone, skew and warp aside."""
    cos, sin = np.cos(p["tilt"]), np.sin(p["tilt"])
    x = (x - p["turn"] * (1 - np.minimum(x * x, 1))) * p["scale"]
    y = y * p["scale"] * p["aspect"]
    return cos * x - sin * y + p["dx"], sin * x + cos * y + p["dy"]


def _lung_borders(y: np.ndarray, ax: np.ndarray, left: np.ndarray, p: Params) -> tuple[np.ndarray, ...]:
    height = np.clip((0.42 - y) / (0.42 - p["apex"]), 0, 1)
    wall = p["width"] * (1 - height**1.8) ** 0.58
    below = y - p["heart_y"]
    heart = _bell(np.maximum(-below, 0.6 * below), 0.30)
    mediastinum = 0.11 + (p["heart_right"] + (p["heart_left"] - p["heart_right"]) * left) * heart
    mediastinum += p["aortic_knob"] * left * _bell(y + 0.30, 0.09) + p["thymus"] * _bell(y + 0.25, 0.18)
    mediastinum += 0.07 * _step(-0.1 - y, 0.3)
    bend = np.maximum((ax - 0.36) * (1 / 0.4), (0.36 - ax) * (1 / 0.75))  # steep at the costophrenic angle
    dome = p["dome"] + p["breath"] + p["dome_gap"] * left + p["dome_curve"] * bend * bend
    return wall - ax, ax - mediastinum, dome - y


def _soft_tissue(at: _Place, p: Params) -> np.ndarray:
    flank = p["trunk"] + 0.9 * _step(-0.45 - at.y, 0.12)
    roof = p["shoulder"] - 0.28 + 0.30 * (at.ax - 0.25)
    body = _step(flank - at.ax, 0.03) * np.maximum(_step(at.y - roof, 0.03), _step(0.26 - at.ax, 0.04))
    arm = 0.42 * _step(0.15 - np.abs(at.ax - p["trunk"] - 0.24 + 0.2 * at.y), 0.03) * _step(at.y + 0.4, 0.1)
    rounding = 0.72 + 0.28 * np.sqrt(np.clip((flank - at.ax) / 0.35, 0, 1))
    chest = 0.46 + 0.15 * _bell(at.ax, 0.36) + 0.03 * at.y + 0.04 * _bell(at.to_wall, 0.08)
    belly = _step(-at.over_dome, 0.02) * (0.14 + 0.05 * _bell(at.ax - 0.3, 0.4))
    heart = _step(-at.off_heart, 0.02) * _step(at.over_dome, 0.06) * (0.11 - 0.05 * _bell(at.off_heart, 0.15))
    jaw = 0.46 - np.hypot(0.9 * at.x, 1.2 * (at.y - p["chin"]))
    chin = 0.14 * _step(jaw, 0.02) + 0.10 * _bell(jaw - 0.05, 0.04)
    return body * ((chest + belly + heart) * rounding + p["thickness"]) + chin + arm * (1 - body)


def _ribs(at: _Place, p: Params) -> np.ndarray:
    """All ribs at once: level sets of an arching (posterior) and of a falling (anterior) height."""
    arch = p["rib_arch"] * at.ax * at.ax * (1.15 - 0.45 * at.y)
    off = np.abs(_phase((at.y - arch) / p["rib_pitch"] + p["rib_phase"] + 0.12 * at.left))
    shaft = 0.85 * _step(0.18 - off, 0.06) + 0.5 * _bell(off - 0.16, 0.05)
    reach = np.clip(at.to_wall, 0, 1)
    fall = 0.9 * reach * (1 - 0.35 * reach)
    off = np.abs(_phase((at.y - fall) / p["rib_pitch"] + 1.7 * p["rib_phase"]))
    # Costal cartilage is invisible: anterior ribs end well before the breastbone.
    front = (0.5 * _step(0.2 - off, 0.06) + 0.4 * _bell(off - 0.2, 0.05)) * _step(at.ax - 0.40, 0.08)
    # Where a rib turns round the chest wall the beam runs along its cortex.
    rim = _bell(at.to_wall + 0.015, 0.02) * (0.25 + shaft) + 0.4 * _bell(at.to_wall - 0.015, 0.025) * shaft
    cage = _step(at.to_wall + 0.07, 0.02) * _step(0.75 - at.y, 0.15) * _step(at.y - p["apex"] + 0.05, 0.04)
    shaft = shaft * (0.75 + 0.35 * _step(at.ax - 0.4, 0.2))
    return p["rib_bone"] * cage * (shaft + 0.5 * front + 0.75 * rim)


def _spine(at: _Place, p: Params) -> np.ndarray:
    ax = np.abs(at.x - 0.02 * np.sin(2 * at.y))
    phase = _phase(at.y / (0.118 + 0.012 * at.y) + p["rib_phase"])
    off = np.abs(phase)
    edge = 0.10 - 0.012 * np.cos(2 * np.pi * phase) - ax  # vertebral bodies are waisted
    bone = 0.62 - 0.45 * _bell(off - 0.5, 0.09) + 0.3 * _bell(off - 0.39, 0.05)  # discs, endplates
    pedicles = _bell(ax - 0.062, 0.017) * _bell(phase + 0.08, 0.15)
    process = _bell(ax, 0.02) * _bell(phase - 0.2, 0.2)
    body = _step(edge, 0.02) * bone + 0.25 * _bell(edge - 0.012, 0.014)
    return p["spine_bone"] * (body + 0.4 * pedicles + 0.3 * process)


def _shoulders(at: _Place, p: Params) -> np.ndarray:
    """Clavicles, scapulae and the heads of the humeri."""
    ax = at.ax
    slope = p["clavicle_slope"] * (0.85 + 0.15 * at.left)
    line = p["apex"] + 0.17 - slope * (ax - 0.1) + 0.035 * np.sin(7.5 * ax - 0.4)
    off = np.abs(at.y - line) / (0.020 + 0.012 * _bell(ax - 0.1, 0.12) + 0.008 * _bell(ax - 0.7, 0.15))
    clavicle = 0.6 * _step(1 - off, 0.35) + 0.35 * _bell(off - 0.85, 0.3)
    clavicle *= _step(ax - 0.1, 0.02) * _step(0.70 - ax, 0.04)
    border = (
        _bell(ax - 0.84 - 0.3 * (at.y + 0.4), 0.016) * _step(-0.15 - at.y, 0.1) * _step(at.y + 0.75, 0.05)
    )
    ridge = _bell(at.y - p["shoulder"] - 0.18 + 0.35 * (ax - 0.8), 0.03) * _step(ax - 0.72, 0.06)
    head = _step(0.14 - np.hypot(ax - 1.05, at.y - p["shoulder"] - 0.08), 0.06)
    return 0.17 * clavicle + 0.05 * (border + ridge) + 0.07 * head


def _airways(at: _Place) -> np.ndarray:
    ax, below = np.abs(at.x + 0.015), at.y + 0.24
    trachea = _step(0.035 - ax, 0.018) * _step(-below, 0.04)
    bronchi = _bell(ax - 0.7 * below, 0.03) * _step(below, 0.03) * _step(-at.y, 0.05)
    return 0.13 * trachea + 0.05 * bronchi


def _abdominal_gas(at: _Place, p: Params, anatomy: _Streams) -> np.ndarray:
    bubble = _step(1 - np.hypot((at.x - p["gas_x"]) / 0.22, (at.y - p["dome"] - 0.24) / 0.11), 0.35)
    bowel = np.maximum(_noise(anatomy, 11, at.x.shape[-1]) - 0.8, 0) * _step(-at.over_dome - 0.12, 0.05)
    return np.maximum(p["gas"], 0) * bubble + np.maximum(p["bowel"], 0) * bowel


def _vessels(anatomy: _Streams, p: Params, grid: int) -> np.ndarray:
    """A fan of pulmonary arteries from each hilum, each with four branches, thinning outwards."""
    fan, twigs = 13, 4
    t = np.linspace(0, 1, 48, dtype=np.float32)
    jitter = anatomy.normal(5, 2, fan).swapaxes(0, 1)
    angle = np.linspace(-1.35, 1.35, fan, dtype=np.float32) + 0.12 * jitter[0]
    length = (0.38 + 0.2 * np.abs(np.sin(angle))) * (1 + 0.16 * jitter[1])
    x, y = 0.17 + 0.02 * jitter[2], 0.07 * np.sin(angle) + 0.03 * jitter[3]
    arteries = _arcs(x, y, angle, length, 0.08 * jitter[4], t)

    fork, turn, part, bend = anatomy.uniform(4, 2, fan * twigs).swapaxes(0, 1)
    knot = (8 + 26 * fork).astype(np.int64)[..., None]
    x, y = (np.take_along_axis(np.repeat(c, twigs, axis=2), knot, -1)[..., 0] for c in arteries)
    turn = (0.3 + 0.5 * turn) * np.tile(_SIDES[:, 0], fan * twigs // 2)
    short = np.repeat(length, twigs, axis=2) * (0.35 + 0.25 * part)
    branches = _arcs(x, y, np.repeat(angle, twigs, axis=2) + turn, short, 0.1 * (bend - 0.5), t)

    lines = np.zeros((len(angle), grid, grid), np.float32)
    for (x, y), lengths, calibre in ((arteries, length, 0.012), (branches, short, 0.009)):
        x = x * _SIDES[..., None]
        curves = (len(x), -1, t.size)
        weight = (1 - t) ** 0.7 * lengths[..., None] / t.size
        u, v = _to_film(p, x.reshape(curves), y.reshape(curves))
        lines += _trace(u, v, weight.reshape(curves), calibre, grid)
    return lines


def _arcs(
    x: np.ndarray, y: np.ndarray, angle: np.ndarray, length: np.ndarray, bend: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Parabolas that leave (x, y) at an angle, with a last axis of dots at the parameters `t`."""
    along, across = length[..., None] * t, bend[..., None] * t * t
    cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
    return x[..., None] + along * cos - across * sin, y[..., None] + along * sin + across * cos


def _pattern(label: int, draw: float) -> Pattern:
    patterns = [q for q in PATTERNS if q.label == label]
    return patterns[np.searchsorted(np.cumsum([q.share for q in patterns[:-1]]), draw)]


def _disease(
    anatomy: _Streams, p: Params, labels: np.ndarray, texture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What fills the air, (films, grid, grid), and how much the markings grow, (films, 1, 1)."""
    grid, severity = texture.shape[-1], np.maximum(p["severity"], 0.12)
    kind, other_side, focus_y, focus_x = anatomy.uniform(4, 1, 1).swapaxes(0, 1)
    patterns = [_pattern(label, draw) for label, draw in zip(labels, kind[:, 0, 0], strict=True)]

    def of(field: str) -> np.ndarray:
        return np.array([getattr(q, field) for q in patterns], np.float32).T[..., None, None]

    def between(field: str, draw: np.ndarray) -> np.ndarray:
        low, high = of(field)
        return low + (high - low) * draw

    dy, dx, radius, amount, flip, hollow = anatomy.uniform(6, _OPACITIES, 1).swapaxes(0, 1)
    height = between("height", focus_y) + of("scatter") * (2 * dy - 1)
    lateral = between("lateral", focus_x) + of("scatter") * (dx - 0.5)
    side = np.where((other_side < 0.5) ^ (flip < of("bilateral")), np.float32(-1), np.float32(1))
    x = side * (0.12 + lateral * (p["width"] - 0.12) * (0.5 + 0.5 * height.clip(0, 1)))
    u, v = _to_film(p, x, p["apex"] + height * (p["dome"] - p["apex"]))
    radius = between("radius", radius) * p["scale"]
    amount = of("amount") * (0.5 + amount) * severity
    filling = _blobs(u, v, radius, amount, grid)
    filling -= _blobs(u, v, 0.6 * radius, 1.5 * amount * (hollow < of("cavities")), grid)
    filling = np.maximum(filling, 0) * np.maximum(1 + 0.7 * texture, 0.1)  # ragged edges, air bronchograms

    streaks = of("streaks") * severity
    u, v = _to_film(p, 0.2 * _SIDES, 0 * _SIDES)
    hila = _blobs(u, v, 0.16, np.maximum(p["hila"], 0) * (1 + streaks), grid)
    return filling + hila + of("haze") * severity, streaks


def _attachments(visit: _Streams, p: Params, grid: int) -> np.ndarray:
    """Side letters and monitoring leads, as often in every class."""
    t = np.linspace(0, 1, 96, dtype=np.float32)
    which, dx, dy = visit.uniform(3, 1, 1).swapaxes(0, 1)
    is_left = (which > 0.75).astype(np.int64)
    strokes = [
        [np.interp(t * (len(q) - 1), range(len(q)), c) for c in zip(*q, strict=True)] for q in _LETTERS
    ]
    letter = np.array(strokes, np.float32)[is_left[:, 0, 0]]
    u = 1.68 * is_left - 0.94 + 0.12 * dx + 0.07 * letter[:, :1]
    v = -0.93 + 0.76 * dy + 0.10 * letter[:, 1:]
    marks = _trace(u, v, (p["letter"] > 0) * 0.35 / t.size, 0.007, grid)

    start, end, low = visit.uniform(3, 2, 1).swapaxes(0, 1)
    wired = (p["leads"] > 0) * np.abs(_SIDES)
    u = _SIDES * (0.35 + 0.5 * start + (1.4 * end - 1.0) * t * (0.4 + t * t))
    v = -1 + (0.5 + 1.2 * low) * t
    marks += 0.5 * _trace(u, v, wired * 1.8 / t.size, 0.007, grid)
    return 0.35 * marks + 0.25 * _blobs(u[..., -1:], v[..., -1:], 0.03, wired, grid)


def _expose(density: np.ndarray, visit: _Streams, p: Params) -> np.ndarray:
    """Collimation, the film curve, unsharpness and noise."""
    grid = density.shape[-1]
    opening = [_step(1 - p["collimation"] - np.abs(_axis(grid) - p[shift]), 0.01) for shift in ("dx", "dy")]
    density = density * opening[0] * np.swapaxes(opening[1], 1, 2)
    film = 1 / (1 + np.exp(-4.3 * p["contrast"] * (density - 0.52) - 0.25 - p["exposure"]))
    sigma = grid / 224
    film += np.clip(p["unsharpness"], 0, 1) * (gaussian_filter(film, (0, sigma, sigma), truncate=3) - film)
    film += np.maximum(p["noise"], 0) * (grid / 224) * visit.normal(grid, grid)
    return np.clip(film, 0, 1)
