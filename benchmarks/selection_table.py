"""docs/model_selection.md: the candidates of `benchmarks.training_selection`, their scores and the choice."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr.core.files import read_csv
from cxr.evaluation.corruptions import KINDS

ROWS = Path("docs/model_selection.csv")
TABLE = Path("docs/model_selection.md")
COLUMNS = ("candidate", "part", "seed", "judged", "tta", "auc", "auc_se", "nll", "specificity")
CORRUPTED = (*KINDS, "zoom 0.7", "zoom 1.3")
KEPT = 3
FINALISTS = 2
TWO_ROUNDS = {"conflict": 0.4, "corrupted": 0.2, "worst": 0.1, "series": 0.15, "late": 0.15}
ONE_ROUND = {"conflict": 0.5, "corrupted": 0.3, "worst": 0.2}

Row = Mapping[str, str]


def values(rows: Sequence[Row], candidate: str, judged: str, measure: str, tta: str = "flip") -> list[float]:
    """One for each seed."""
    wanted = (candidate, judged, tta)
    return [float(row[measure]) for row in rows if (row["candidate"], row["judged"], row["tta"]) == wanted]


def aucs(rows: Sequence[Row], candidate: str) -> dict[str, float]:
    """The mean AUC over seeds on each of `TWO_ROUNDS` that was judged, and on fold."""
    of_kind = [np.mean(values(rows, candidate, kind, "auc")) for kind in CORRUPTED]
    result = {"corrupted": np.mean(of_kind), "worst": np.min(of_kind)}
    for judged in ("conflict", "fold", "series", "late"):
        if of_seeds := values(rows, candidate, judged, "auc"):
            result[judged] = np.mean(of_seeds)
    return {name: float(value) for name, value in result.items()}


def score(of_candidate: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(weight * of_candidate[name] for name, weight in weights.items())


def after_one_seed(rows: Sequence[Row]) -> list[str]:
    first = [row for row in rows if row["seed"] == "0" and row["part"] == "conflict"]
    ranked = sorted(admitted(first), key=lambda name: score(aucs(first, name), ONE_ROUND), reverse=True)
    return list(dict.fromkeys([*ranked[:KEPT], "before"]))


def complete(rows: Sequence[Row]) -> list[str]:
    """The candidates that all seeds were trained for, in the order of the file."""
    names = dict.fromkeys(row["candidate"] for row in rows)
    seeds = {row["seed"] for row in rows}
    return [name for name in names if len(values(rows, name, "conflict", "auc")) == len(seeds)]


def admitted(rows: Sequence[Row]) -> list[str]:
    """Candidates whose AUC on fold is within one standard error of the best one's."""
    names = complete(rows)
    fold = {name: float(np.mean(values(rows, name, "fold", "auc"))) for name in names}
    best = max(fold, key=lambda name: fold[name])
    errors = values(rows, best, "fold", "auc_se")
    # The folds of the seeds have no patient in common, so the error of their mean is smaller.
    limit = fold[best] - float(np.sqrt(np.sum(np.square(errors)))) / len(errors)
    return [name for name in names if fold[name] >= limit]


def finalists(rows: Sequence[Row]) -> list[str]:
    ranked = sorted(admitted(rows), key=lambda name: score(aucs(rows, name), ONE_ROUND), reverse=True)
    return ranked[:FINALISTS]


def chosen(rows: Sequence[Row]) -> str:
    def rank(name: str) -> tuple[float, float]:
        return score(aucs(rows, name), TWO_ROUNDS), -float(np.mean(values(rows, name, "conflict", "nll")))

    return max(finalists(rows), key=rank)


def write_table() -> str:
    rows = read_csv(ROWS)
    winner, allowed, last = chosen(rows), admitted(rows), finalists(rows)
    most = len({row["seed"] for row in rows})
    titles = [*("seeds", "score", "conflict AUC (SD)", "log loss", "specificity", "corrupted", "worst")]
    titles += ["fold AUC", "series", "late", "conflict AUC, flip_zoom"]
    lines = [
        "Written by `python -m benchmarks.training_selection PATIENTS`, whose docstring says what is judged",
        "and defines the score and the choice. Means over seeds; SD: between seeds. Log loss, and",
        "specificity at a sensitivity of .95, on conflict. Candidates with one seed were not kept after it.",
        f"Of those with {most} seeds, * marks an AUC on fold within one standard error of the best. The",
        "score of finalists and of `before` has series and late, that of the others has not.",
        "",
        "| candidate | " + " | ".join(titles) + " |",
        "|---|" + "---|" * len(titles),
    ]
    names = dict.fromkeys(row["candidate"] for row in rows)
    one_round = {name: score(aucs(rows, name), ONE_ROUND) for name in names}
    order = sorted(names, key=lambda name: (name in complete(rows), one_round[name]), reverse=True)
    for name in order:
        of_name = aucs(rows, name)
        conflict, zoomed = (values(rows, name, "conflict", "auc", tta) for tta in ("flip", "flip_zoom"))
        total = score(of_name, TWO_ROUNDS) if "late" in of_name else one_round[name]
        deviation = f" ({np.std(conflict, ddof=1):.4f})" if len(conflict) > 1 else ""
        cells = [
            str(len(conflict)),
            f"{total:.4f}",
            f"{np.mean(conflict):.4f}{deviation}",
            f"{np.mean(values(rows, name, 'conflict', 'nll')):.3f}",
            f"{np.mean(values(rows, name, 'conflict', 'specificity')):.3f}",
            f"{of_name['corrupted']:.4f}",
            f"{of_name['worst']:.4f}",
            f"{of_name['fold']:.4f}" + (" *" if name in allowed else ""),
            *(f"{of_name[part]:.4f}" if part in of_name else "" for part in ("series", "late")),
            f"{np.mean(zoomed):.4f}",
        ]
        remark = "chosen" if name == winner else "finalist" if name in last else ""
        title = f"**{name}** ({remark})" if remark else name
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    text = "\n".join([*lines, ""])
    TABLE.write_text(text, encoding="utf-8")
    return text
