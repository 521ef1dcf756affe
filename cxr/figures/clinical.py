"""Predictive values by prevalence, and decision curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cxr.figures import style
from cxr.figures.style import save_figure


def draw_clinical(
    path: Path | str,
    by_prevalence: Sequence[Mapping[str, Any]],
    stated: Sequence[Mapping[str, Any]],
    curves: Sequence[Mapping[str, Any]],
    condition: str,
) -> None:
    """by_prevalence: rows with `prevalence`, `ppv` and `npv` (value, low, high) for the lines. stated: those
    that are marked. curves: rows with `prevalence`, `threshold`, `classifier` and `all`. condition: the
    positive class. Without rows a sentence says that there are none."""
    if not by_prevalence:
        figure = Figure(figsize=(6, 1), layout="constrained")
        figure.text(0.5, 0.4, "Predictive values and decision curves are for two classes.", ha="center")
        save_figure(figure, path)
        return
    figure = Figure(figsize=(5 + 4 * len(curves), 4.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, 1 + len(curves)))
    ax = axes[0]
    for key, colour, line, title in (
        ("ppv", style.PLAIN, "-", "positive predictive value"),
        ("npv", style.MARKED, "--", "negative predictive value"),
    ):
        rows = [row for row in by_prevalence if key in row]
        x = [row["prevalence"] for row in rows]
        ax.plot(x, [row[key]["value"] for row in rows], line, color=colour, label=title)
        ax.fill_between(
            x,
            [row[key]["low"] for row in rows],
            [row[key]["high"] for row in rows],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
        marked = [row for row in stated if key in row]
        ax.plot([r["prevalence"] for r in marked], [r[key]["value"] for r in marked], "o", color=colour)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=f"prevalence of {condition}", ylabel="predictive value")
    ax.set_title("Predictive values (band: 95 % interval)", fontsize=11)
    ax.legend(loc="lower center", frameon=False, fontsize=10)
    for ax, curve in zip(axes[1:], curves, strict=True):
        ax.plot(curve["threshold"], curve["classifier"], color=style.PLAIN, label="by the classifier")
        ax.plot(curve["threshold"], curve["all"], "--", color=style.MARKED, label="treat all")
        ax.axhline(0, color=style.GREY, linewidth=1, label="treat nobody")
        top = curve["prevalence"]
        ax.set(xlim=(0, 1), ylim=(-0.25 * top, 1.1 * top), xlabel="threshold probability of treating")
        ax.set_ylabel("net benefit (true positives per patient)")
        ax.set_title(f"Decision curve at a prevalence of {100 * top:.0f} %", fontsize=11)
        ax.legend(loc="upper right", frameon=False, fontsize=10)
    save_figure(figure, path)
