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
# Parameters that decide which radiographs are in test: metrics on different ones cannot be ranked.
TEST_SET = ("download.", "phantom.", "split.")


@dataclass(frozen=True)
class Experiment:
    """params: values by dotted key. metrics: test metrics by `<metric>.<statistic>`. state: "queued",
    "running" or "failed"; None for a finished run, which alone has metrics of its own."""

    name: str
    params: dict[str, Any]
    metrics: dict[str, float]
    state: str | None = None

    @property
    def test_set(self) -> tuple[tuple[str, str], ...]:
        """The parameters that decide which radiographs are in test."""
        return tuple(
            (key, str(value)) for key, value in sorted(self.params.items()) if key.startswith(TEST_SET)
        )


def add(commands: Any) -> None:
    command = commands.add_parser(
        "leaderboard",
        help="the experiments on HEAD, best first",
        description="Test metrics of HEAD and of DVC's experiments on it. Experiments that differ only in "
        "`seed` are one line, with mean and standard deviation over seeds: of the members' mean, and of the "
        "ensemble. Experiments on other test sets have tables of their own; runs that are queued, running or "
        "failed are listed without metrics.",
    )
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there are no test metrics yet."""
    rows = experiments()
    if not any(row.metrics for row in rows):
        raise UserError("metrics/test.json: no metrics at HEAD or in an experiment; run `dvc exp run` first")
    print("\n".join(leaderboard(rows)))


def experiments() -> list[Experiment]:
    """The run at HEAD and the experiments on it, from DVC. Raises `UserError` outside of the repository."""
    if not params.PATH.is_file():
        raise UserError(f"{params.PATH}: no such file; run from the repository's root")
    import dvc.api  # takes seconds to import, and `cxr --help` does not wait for it

    known = dict(recipes.leaves(recipes.yaml().load(params.PATH)))
    wanted = [f"{metric}.{statistic}" for metric in METRICS for statistic in STATISTICS]
    rows = []
    for experiment in dvc.api.exp_show():
        status = (experiment.get("State") or "success").lower()
        state = None if status == "success" else status
        # Of an unfinished run DVC shows what is in its folder: the metrics of the run that it started from.
        names = [] if state else [name for name in wanted if experiment.get(name) is not None]
        metrics = {name: float(experiment[name]) for name in names}
        if experiment["rev"] != "workspace" and (metrics or state):
            # DVC's table holds every number as a float.
            values = {key: int(value) if _whole(value) else value for key, value in experiment.items()}
            settings = {key: values.get(key) for key in known}
            rows.append(Experiment(experiment["Experiment"] or experiment["rev"], settings, metrics, state))
    return rows


def leaderboard(rows: Sequence[Experiment]) -> list[str]:
    """Lines of text: a table for each test set, that of the first row first, then the unfinished runs."""
    finished = [row for row in rows if not row.state]
    reference = finished[0]
    test_sets: dict[tuple[tuple[str, str], ...], list[Experiment]] = defaultdict(list)
    for row in finished:
        test_sets[row.test_set].append(row)
    lines: list[str] = []
    for test_set, members in test_sets.items():
        if test_set != reference.test_set:
            changes = (f"{key}={value}" for key, value in test_set if (key, value) not in reference.test_set)
            lines += ["", f"On another test set ({', '.join(changes)}), not comparable with the table above:"]
        lines += table(members, reference)
    unfinished = [row for row in rows if row.state]
    if unfinished:
        lines += ["", "Without results:"]
        lines += [f"{row.state:9}{row.name}  {_changes(row, reference)}".rstrip() for row in unfinished]
    return lines


def table(rows: Sequence[Experiment], reference: Experiment) -> list[str]:
    """Lines of text, best first, of finished runs. Changes of parameters are relative to `reference`."""
    groups: dict[tuple[tuple[str, str], ...], list[Experiment]] = defaultdict(list)
    for row in rows:
        same = tuple((key, str(value)) for key, value in sorted(row.params.items()) if key != "seed")
        groups[same].append(row)
    columns = [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]
    lines = []
    for members in groups.values():
        # Two runs of one seed count once: the pipeline is deterministic.
        runs = list({str(row.params.get("seed")): row for row in members}.values())
        cells = [_mean_and_sd([row.metrics[name] for row in runs]) for name in columns]
        best = statistics.mean(row.metrics[columns[0]] for row in runs)
        lines.append((best, [_changes(members[0], reference) or "as at HEAD", str(len(runs)), *cells]))
    ordered = [cells for _, cells in sorted(lines, key=lambda line: -line[0])]
    return aligned([["parameters", "seeds", *columns], *ordered])


def _changes(row: Experiment, reference: Experiment) -> str:
    """The parameters in which `row` differs from `reference`; of a finished run without its seed."""
    return ", ".join(
        f"{key}={value}"
        for key, value in sorted(row.params.items())
        if (key != "seed" or row.state) and str(reference.params.get(key)) != str(value)
    )


def _whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _mean_and_sd(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.4f}"
    return f"{mean} +- {statistics.stdev(values):.4f}" if len(values) > 1 else mean


def aligned(rows: list[list[str]]) -> list[str]:
    """The cells of each row in columns, without spaces at the end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
