"""The healthy chest of a synthetic radiograph: position of each pixel in the body, and attenuation there."""

from typing import NamedTuple

import numpy as np

from cxr.data.phantom.drawing import Params, Streams, axis, bell, noise, phase, step, trace

SIDES = np.array([[-1], [1]], np.float32)  # the patient's right, left


class BodyPosition(NamedTuple):
    """The position of each pixel in the body: (radiographs, grid, grid) float32, distances positive on the
    side of the lung."""

    x: np.ndarray
    y: np.ndarray
    ax: np.ndarray  # distance from the midline
    left: np.ndarray  # 0 on the patient's right, 1 on the left
    to_wall: np.ndarray  # chest wall
    off_heart: np.ndarray  # or the mediastinum above it
    over_dome: np.ndarray  # hemidiaphragm


def body_position(p: Params, anatomy: Streams, grid: int) -> BodyPosition:
    """For a square image of `grid` pixels a side."""
    u, v = axis(grid) - p["dx"], axis(grid)[:, None] - p["dy"]
    cos, sin = np.cos(p["tilt"]), np.sin(p["tilt"])
    x = (cos * u + sin * v) / p["scale"]
    y = (cos * v - sin * u) / (p["scale"] * p["aspect"]) + p["skew"] * u
    # The noise warps the body a little, so that outlines differ.
    x = x + p["turn"] * (1 - np.minimum(x * x, 1)) + 0.012 * noise(anatomy, 5, grid)
    y = y + 0.015 * noise(anatomy, 5, grid)
    ax, left = np.abs(x), step(x, 0.01)
    return BodyPosition(x, y, ax, left, *_lung_borders(y, ax, left, p))


def to_image(p: Params, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image coordinates of (radiographs, curves, dots) body coordinates: the inverse of `body_position`
    without skew and warp."""
    cos, sin = np.cos(p["tilt"]), np.sin(p["tilt"])
    x = (x - p["turn"] * (1 - np.minimum(x * x, 1))) * p["scale"]
    y = y * p["scale"] * p["aspect"]
    return cos * x - sin * y + p["dx"], sin * x + cos * y + p["dy"]


def _lung_borders(y: np.ndarray, ax: np.ndarray, left: np.ndarray, p: Params) -> tuple[np.ndarray, ...]:
    height = np.clip((0.42 - y) / (0.42 - p["apex"]), 0, 1)
    wall = p["width"] * (1 - height**1.8) ** 0.58
    below = y - p["heart_y"]
    heart = bell(np.maximum(-below, 0.6 * below), 0.30)
    mediastinum = 0.11 + (p["heart_right"] + (p["heart_left"] - p["heart_right"]) * left) * heart
    mediastinum += p["aortic_knob"] * left * bell(y + 0.30, 0.09) + p["thymus"] * bell(y + 0.25, 0.18)
    mediastinum += 0.07 * step(-0.1 - y, 0.3)
    bend = np.maximum((ax - 0.36) * (1 / 0.4), (0.36 - ax) * (1 / 0.75))  # steep at the costophrenic angle
    dome = p["dome"] + p["breath"] + p["dome_gap"] * left + p["dome_curve"] * bend * bend
    return wall - ax, ax - mediastinum, dome - y


def soft_tissue(at: BodyPosition, p: Params) -> np.ndarray:
    flank = p["trunk"] + 0.9 * step(-0.45 - at.y, 0.12)
    roof = p["shoulder"] - 0.28 + 0.30 * (at.ax - 0.25)
    body = step(flank - at.ax, 0.03) * np.maximum(step(at.y - roof, 0.03), step(0.26 - at.ax, 0.04))
    arm = 0.42 * step(0.15 - np.abs(at.ax - p["trunk"] - 0.24 + 0.2 * at.y), 0.03) * step(at.y + 0.4, 0.1)
    rounding = 0.72 + 0.28 * np.sqrt(np.clip((flank - at.ax) / 0.35, 0, 1))
    chest = 0.46 + 0.15 * bell(at.ax, 0.36) + 0.03 * at.y + 0.04 * bell(at.to_wall, 0.08)
    belly = step(-at.over_dome, 0.02) * (0.14 + 0.05 * bell(at.ax - 0.3, 0.4))
    heart = step(-at.off_heart, 0.02) * step(at.over_dome, 0.06) * (0.11 - 0.05 * bell(at.off_heart, 0.15))
    jaw = 0.46 - np.hypot(0.9 * at.x, 1.2 * (at.y - p["chin"]))
    chin = 0.14 * step(jaw, 0.02) + 0.10 * bell(jaw - 0.05, 0.04)
    return body * ((chest + belly + heart) * rounding + p["thickness"]) + chin + arm * (1 - body)


def ribs(at: BodyPosition, p: Params) -> np.ndarray:
    """All ribs at once: level sets of an arching (posterior) and of a descending (anterior) height."""
    arch = p["rib_arch"] * at.ax * at.ax * (1.15 - 0.45 * at.y)
    off = np.abs(phase((at.y - arch) / p["rib_pitch"] + p["rib_phase"] + 0.12 * at.left))
    shaft = 0.85 * step(0.18 - off, 0.06) + 0.5 * bell(off - 0.16, 0.05)
    reach = np.clip(at.to_wall, 0, 1)
    fall = 0.9 * reach * (1 - 0.35 * reach)
    off = np.abs(phase((at.y - fall) / p["rib_pitch"] + 1.7 * p["rib_phase"]))
    # Costal cartilage is invisible: anterior ribs end well before the breastbone.
    front = (0.5 * step(0.2 - off, 0.06) + 0.4 * bell(off - 0.2, 0.05)) * step(at.ax - 0.40, 0.08)
    # Where a rib curves along the chest wall, the beam passes along its cortex.
    rim = bell(at.to_wall + 0.015, 0.02) * (0.25 + shaft) + 0.4 * bell(at.to_wall - 0.015, 0.025) * shaft
    cage = step(at.to_wall + 0.07, 0.02) * step(0.75 - at.y, 0.15) * step(at.y - p["apex"] + 0.05, 0.04)
    shaft = shaft * (0.75 + 0.35 * step(at.ax - 0.4, 0.2))
    return p["rib_bone"] * cage * (shaft + 0.5 * front + 0.75 * rim)


def spine(at: BodyPosition, p: Params) -> np.ndarray:
    ax = np.abs(at.x - 0.02 * np.sin(2 * at.y))
    level = phase(at.y / (0.118 + 0.012 * at.y) + p["rib_phase"])
    off = np.abs(level)
    edge = 0.10 - 0.012 * np.cos(2 * np.pi * level) - ax  # vertebral bodies are waisted
    bone = 0.62 - 0.45 * bell(off - 0.5, 0.09) + 0.3 * bell(off - 0.39, 0.05)  # discs, endplates
    pedicles = bell(ax - 0.062, 0.017) * bell(level + 0.08, 0.15)
    process = bell(ax, 0.02) * bell(level - 0.2, 0.2)
    body = step(edge, 0.02) * bone + 0.25 * bell(edge - 0.012, 0.014)
    return p["spine_bone"] * (body + 0.4 * pedicles + 0.3 * process)


def shoulders(at: BodyPosition, p: Params) -> np.ndarray:
    """Clavicles, scapulae and the heads of the humeri."""
    ax = at.ax
    slope = p["clavicle_slope"] * (0.85 + 0.15 * at.left)
    line = p["apex"] + 0.17 - slope * (ax - 0.1) + 0.035 * np.sin(7.5 * ax - 0.4)
    off = np.abs(at.y - line) / (0.020 + 0.012 * bell(ax - 0.1, 0.12) + 0.008 * bell(ax - 0.7, 0.15))
    clavicle = 0.6 * step(1 - off, 0.35) + 0.35 * bell(off - 0.85, 0.3)
    clavicle *= step(ax - 0.1, 0.02) * step(0.70 - ax, 0.04)
    border = bell(ax - 0.84 - 0.3 * (at.y + 0.4), 0.016) * step(-0.15 - at.y, 0.1) * step(at.y + 0.75, 0.05)
    ridge = bell(at.y - p["shoulder"] - 0.18 + 0.35 * (ax - 0.8), 0.03) * step(ax - 0.72, 0.06)
    head = step(0.14 - np.hypot(ax - 1.05, at.y - p["shoulder"] - 0.08), 0.06)
    return 0.17 * clavicle + 0.05 * (border + ridge) + 0.07 * head


def airways(at: BodyPosition) -> np.ndarray:
    ax, below = np.abs(at.x + 0.015), at.y + 0.24
    trachea = step(0.035 - ax, 0.018) * step(-below, 0.04)
    bronchi = bell(ax - 0.7 * below, 0.03) * step(below, 0.03) * step(-at.y, 0.05)
    return 0.13 * trachea + 0.05 * bronchi


def abdominal_gas(at: BodyPosition, p: Params, anatomy: Streams) -> np.ndarray:
    bubble = step(1 - np.hypot((at.x - p["gas_x"]) / 0.22, (at.y - p["dome"] - 0.24) / 0.11), 0.35)
    bowel = np.maximum(noise(anatomy, 11, at.x.shape[-1]) - 0.8, 0) * step(-at.over_dome - 0.12, 0.05)
    return np.maximum(p["gas"], 0) * bubble + np.maximum(p["bowel"], 0) * bowel


def vessels(anatomy: Streams, p: Params, grid: int) -> np.ndarray:
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
    turn = (0.3 + 0.5 * turn) * np.tile(SIDES[:, 0], fan * twigs // 2)
    short = np.repeat(length, twigs, axis=2) * (0.35 + 0.25 * part)
    branches = _arcs(x, y, np.repeat(angle, twigs, axis=2) + turn, short, 0.1 * (bend - 0.5), t)

    lines = np.zeros((len(angle), grid, grid), np.float32)
    for (x, y), lengths, calibre in ((arteries, length, 0.012), (branches, short, 0.009)):
        x = x * SIDES[..., None]
        curves = (len(x), -1, t.size)
        weight = (1 - t) ** 0.7 * lengths[..., None] / t.size
        u, v = to_image(p, x.reshape(curves), y.reshape(curves))
        lines += trace(u, v, weight.reshape(curves), calibre, grid)
    return lines


def _arcs(
    x: np.ndarray, y: np.ndarray, angle: np.ndarray, length: np.ndarray, bend: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Parabolas that leave (x, y) at an angle, with a last axis of dots at the parameters `t`."""
    along, across = length[..., None] * t, bend[..., None] * t * t
    cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
    return x[..., None] + along * cos - across * sin, y[..., None] + along * sin + across * cos
