"""Built-in synthetic chest radiographs (digital phantoms), so that the pipeline runs without a download.

A radiograph is a sum of soft tissue, bone and air along the beam, computed for whole batches in body
coordinates (x towards the patient's left, y towards the feet; the image spans about -1..1) and passed through
a characteristic curve. Disease fills the lungs' air, so a consolidation beside the heart hides the heart's
border (silhouette sign), as on a real radiograph. Modelled on the paediatric AP set of Kermany et al. (2018).

The classes are not trivial to separate: a small CNN trained on 1,500 radiographs of 28 pixels, 26 % of them
normal, has a test AUC of about 0.95 (4,000 radiographs: 0.97), the mean grey level alone one of 0.56.

These are not medical images: they show that a pipeline runs, never that a classifier is accurate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr.data.phantom.anatomy import (
    abdominal_gas,
    airways,
    body_position,
    ribs,
    shoulders,
    soft_tissue,
    spine,
    vessels,
)
from cxr.data.phantom.detector import attachments, expose
from cxr.data.phantom.drawing import Streams, Table, bell, noise, step
from cxr.data.phantom.findings import disease

CLASSES: tuple[str, ...] = ("normal", "pneumonia", "tuberculosis")
SPLITS: tuple[str, ...] = ("train", "val", "test")
MIN_SIZE, MAX_SIZE = 16, 512
MAX_IMAGES_PER_PATIENT = 3

# Smaller radiographs are drawn on a grid that is a multiple of their size, at least this, then area-averaged.
_MIN_GRID = 112
_CHUNK_PIXELS = 2**18  # drawn at once; keeps the working set in the processor's cache

# Mean and standard deviation of every random parameter, in body units unless stated otherwise. Per patient:
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
# Per radiograph:
IMAGE: Table = {
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
    "severity": (0.67, 0.38),  # of the findings; without effect in normal radiographs
    "exposure": (0.0, 0.17),
    "contrast": (1.0, 0.13),
    "unsharpness": (0.4, 0.25),
    "noise": (0.008, 0.004),  # at 224 pixels, of the full range
    "collimation": (-0.12, 0.08),  # width of the dark border: none where negative
    "letter": (0.3, 1.0),  # side letter, monitoring leads: none where negative
    "leads": (-1.6, 1.0),
}
# The test hospital: other exposure, pose and noise, subtler findings. Val is distributed like train.
TEST_IMAGE: Table = IMAGE | {
    "tilt": (0.02, 0.05),
    "scale": (1.02, 0.09),
    "severity": (0.58, 0.34),
    "exposure": (-0.12, 0.24),
    "contrast": (0.92, 0.16),
    "noise": (0.014, 0.006),
}


@dataclass(frozen=True)
class Phantoms:
    """Synthetic radiographs of one split.

    Attributes:
        images: (N, size, size) uint8, 0 black (air) to 255 white (bone).
        labels: (N,) int64, index into `CLASSES`.
        opacities: (N, size, size) uint8, the grey levels that the focal opacities of disease add to each
            pixel: the radiograph minus the same one, with the same noise, without them. 0 in normal
            radiographs. Diffuse haze and coarser markings, which have no outline, are in both.
        patients: (N,) int64, the simulated patient, unique across the splits of a seed; a patient has
            one class and at most `MAX_IMAGES_PER_PATIENT` radiographs of one anatomy.
    """

    images: np.ndarray
    opacities: np.ndarray
    labels: np.ndarray
    patients: np.ndarray


def make_phantoms(counts: Sequence[int], size: int, seed: int, split: str) -> Phantoms:
    """Draw `counts[c]` radiographs of class `c`, in shuffled order.

    Equal arguments give equal bytes on one machine. Another `size` gives the same radiographs up to noise.
    The test split has other exposure, pose and noise and subtler findings than train and val.

    Args:
        counts: radiographs per class, of the first two or of all three `CLASSES`; not negative.
        size: edge of the square radiographs in pixels, `MIN_SIZE` to `MAX_SIZE`.
        seed: not negative; another seed gives other patients.
        split: "train", "val" or "test"; splits share neither patients nor random streams.

    Raises:
        ValueError: an argument is outside its range.
    """
    _check(counts, size, seed, split)
    key = SPLITS.index(split)
    labels, patients, visits = _cohort(counts, np.random.default_rng(_seeds(seed, key)))
    grid = size * math.ceil(_MIN_GRID / size)
    images, opacities = np.empty((2, len(labels), size, size), np.uint8)
    step = max(1, _CHUNK_PIXELS // grid**2)
    for start in range(0, len(labels), step):
        rows = slice(start, start + step)
        anatomy = Streams(_seeds(seed, key, p) for p in patients[rows])
        visit = Streams(_seeds(seed, key, p, v) for p, v in zip(patients[rows], visits[rows], strict=True))
        pair = _images(anatomy, visit, labels[rows], grid, TEST_IMAGE if split == "test" else IMAGE)
        images[rows], without = (
            np.rint(image.reshape(-1, size, grid // size, size, grid // size).mean((2, 4)) * 255)
            for image in pair
        )
        opacities[rows] = np.maximum(images[rows] - without, 0)
    return Phantoms(images, opacities, labels, patients * len(SPLITS) + key)


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
    """Label, patient and number within the patient of each radiograph: (N,) int64 each, shuffled."""
    total = sum(counts)
    labels = np.repeat(np.arange(len(counts)), counts)
    first = np.empty(total, np.int64)  # row of the first radiograph of the same patient
    for label, count in enumerate(counts):
        images = rng.integers(1, MAX_IMAGES_PER_PATIENT, count, endpoint=True)
        start = sum(counts[:label])
        first[start : start + count] = start + np.repeat(np.cumsum(images) - images, images)[:count]
    patients = rng.permutation(total)[first]  # shuffled: a patient's number must not reveal the class
    visits = np.arange(total) - first
    order = rng.permutation(total)
    return labels[order], patients[order], visits[order]


def _images(
    anatomy: Streams, visit: Streams, labels: np.ndarray, grid: int, table: Table
) -> tuple[np.ndarray, np.ndarray]:
    """The radiographs, and the same ones without focal opacities: (radiographs, grid, grid) float32 in 0..1
    each."""
    p = anatomy.table(PATIENT) | visit.table(table)
    at = body_position(p, anatomy, grid)
    lung = step(at.to_wall, 0.022) * step(at.off_heart, 0.02) * step(at.over_dome, 0.014)
    texture = 0.6 * noise(visit, 12, grid) + 0.4 * noise(visit, 40, grid)
    filling, opacities, streaks = disease(anatomy, p, labels, texture)
    filling += np.maximum(p["crowding"], 0) * bell(at.over_dome, 0.25) + np.maximum(p["haze"], 0)
    depth = 0.70 + 0.30 * np.sqrt(np.clip(at.to_wall / 0.3, 0, 1))
    air = lung * np.exp(-filling) * depth
    filled = lung * np.exp(opacities - filling) * depth - air  # the air that the opacities take the place of
    markings = np.maximum(p["vessels"], 0.01) * (1 + streaks) * vessels(anatomy, p, grid)

    density = soft_tissue(at, p) - 0.26 * air + (0.2 + 0.8 * lung) * (markings + 0.014 * texture)
    density += ribs(at, p) * (0.4 + 0.6 * lung) + spine(at, p) + shoulders(at, p)
    density -= airways(at) + abdominal_gas(at, p, anatomy)
    muscle = (1 - lung) * step(density - 0.1, 0.1)
    density += 0.015 * noise(anatomy, 5, grid) + 0.012 * muscle * noise(anatomy, 14, grid)
    density += attachments(visit, p, grid)
    grain = visit.normal(grid, grid)
    return expose(density, grain, p), expose(density - 0.26 * filled, grain, p)
