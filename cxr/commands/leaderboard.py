"""`cxr leaderboard`: DVC's experiments as a table, with mean and standard deviation over seeds."""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cxr import params, recipes
from cxr.core.errors import UserError

METRICS = ("auc", "auc_ovr_macro", "accuracy", "balanced_accuracy")
STATISTICS = ("mean", "ensemble")  # the mean of the members; the released ensemble


@dataclass(frozen=True)
class Experiment:
    """params: values by dotted key. metrics: test metrics by `<metric>.<statistic>`."""

    name: str
    params: dict[str, Any]
    metrics: dict[str, float]


def add(commands: Any) -> None:
    command = commands.add_parser(
        "leaderboard",
        help="the experiments on HEAD, best first",
        description="Test metrics of HEAD and of DVC's experiments on it. Experiments that differ only in "
        "`seed` are one line, with mean and standard deviation over seeds: of the members' mean, and of the "
        "ensemble.",
    )
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there are no test metrics yet."""
    rows = experiments()
    if not rows:
        raise UserError("metrics/test.json: no metrics at HEAD or in an experiment; run `dvc exp run` first")
    print("\n".join(table(rows)))


def experiments() -> list[Experiment]:
    """The run at HEAD and the experiments on it, from DVC."""
    import dvc.api  # takes seconds to import, and `cxr --help` does not wait for it

    known = dict(recipes.leaves(recipes.yaml().load(params.PATH)))
    wanted = [f"{metric}.{statistic}" for metric in METRICS for statistic in STATISTICS]
    rows = []
    for experiment in dvc.api.exp_show():
        metrics = {name: float(experiment[name]) for name in wanted if experiment.get(name) is not None}
        if experiment["rev"] != "workspace" and metrics:
            # DVC's table holds every number as a float.
            values = {key: int(value) if _whole(value) else value for key, value in experiment.items()}
            settings = {key: values.get(key) for key in known}
            rows.append(Experiment(experiment["Experiment"] or experiment["rev"], settings, metrics))
    return rows


def table(rows: Sequence[Experiment]) -> list[str]:
    """Lines of text, best first. Changes of parameters are relative to the first row."""
    groups: dict[tuple[tuple[str, str], ...], list[Experiment]] = defaultdict(list)
    for row in rows:
        same = tuple((key, str(value)) for key, value in sorted(row.params.items()) if key != "seed")
        groups[same].append(row)
    columns = [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]
    first = {key: str(value) for key, value in rows[0].params.items()}
    lines = []
    for same, members in groups.items():
        # Two runs of one seed count once: the pipeline is deterministic.
        runs = list({str(row.params.get("seed")): row for row in members}.values())
        changes = [f"{key}={value}" for key, value in same if first.get(key) != value]
        cells = [_mean_and_sd([row.metrics[name] for row in runs]) for name in columns]
        best = statistics.mean(row.metrics[columns[0]] for row in runs)
        lines.append((best, [", ".join(changes) or "as at HEAD", str(len(runs)), *cells]))
    ordered = [cells for _, cells in sorted(lines, key=lambda line: -line[0])]
    return _aligned([["parameters", "seeds", *columns], *ordered])


def _whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _mean_and_sd(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.4f}"
    return f"{mean} +- {statistics.stdev(values):.4f}" if len(values) > 1 else mean


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
