"""Differences between two runs with their intervals, one line for each metric (forest plot)."""

from dataclasses import dataclass

from matplotlib.axes import Axes

from cxr.figures import style

VERDICT_COLOURS = {"better": style.PLAIN, "worse": style.MARKED, "inconclusive": style.GREY}


@dataclass(frozen=True)
class MetricDifference:
    """low, high: the 95 % interval of the difference, None where there is none. verdict: better, worse or
    inconclusive."""

    title: str
    difference: float
    interval: tuple[float, float] | None
    verdict: str


def draw_differences(ax: Axes, differences: list[MetricDifference], label: str) -> None:
    """The first at the top. label: of the x axis."""
    for place, each in enumerate(differences):
        colour = VERDICT_COLOURS[each.verdict]
        ax.plot(each.difference, place, "o", color=colour, markersize=6)
        end = each.difference
        if each.interval:
            ax.plot(each.interval, (place, place), color=colour, linewidth=2)
            end = max(each.interval)
        ax.annotate(
            f"{each.difference:+.4f} {each.verdict}",
            (end, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    ax.axvline(0, color="0.2", linewidth=1)
    ax.set_yticks(range(len(differences)), [each.title for each in differences])
    ax.set_ylim(len(differences) - 0.4, -0.6)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.3 * (high - low))  # room for the text at the right ends
    ax.set_xlabel(label)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.3)
