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
KEPT = 6
FINALISTS = 3
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
    seeds = len({row["seed"] for row in rows})
    titles = ("score", "conflict AUC (SD)", "log loss", "specificity", "corrupted", "worst", "series", "late",
              "fold AUC (SE)", "fold log loss", "conflict AUC, flip_zoom")  # fmt: skip
    lines = [
        "Written by `python -m benchmarks.training_selection PATIENTS`, whose docstring says what is judged",
        f"and defines the score. One member for each of {seeds} seeds; AUC, log loss, and specificity at a",
        "sensitivity of .95, means over seeds. SD: between seeds. Test-time augmentation: flip.",
        "A candidate without a mark at fold is outside the limit; finalists have series and late.",
        "",
        "| candidate | " + " | ".join(titles) + " |",
        "|---|" + "---|" * len(titles),
    ]
    one_round = {name: score(aucs(rows, name), ONE_ROUND) for name in complete(rows)}
    order = sorted(one_round, key=lambda name: (name in last, one_round[name]), reverse=True)
    for name in order:
        of_name = aucs(rows, name)
        conflict, zoomed = (values(rows, name, "conflict", "auc", tta) for tta in ("flip", "flip_zoom"))
        fold_error = np.sqrt(np.sum(np.square(values(rows, name, "fold", "auc_se")))) / seeds
        total = score(of_name, TWO_ROUNDS) if name in last else one_round[name]
        cells = [
            f"{total:.4f}",
            f"{np.mean(conflict):.4f} ({np.std(conflict, ddof=1):.4f})",
            f"{np.mean(values(rows, name, 'conflict', 'nll')):.3f}",
            f"{np.mean(values(rows, name, 'conflict', 'specificity')):.3f}",
            f"{of_name['corrupted']:.4f}",
            f"{of_name['worst']:.4f}",
            *(f"{of_name[part]:.4f}" if part in of_name else "" for part in ("series", "late")),
            f"{of_name['fold']:.4f} ({fold_error:.4f})" + (" *" if name in allowed else ""),
            f"{np.mean(values(rows, name, 'fold', 'nll')):.3f}",
            f"{np.mean(zoomed):.4f}",
        ]
        title = f"**{name}** (chosen)" if name == winner else name
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    text = "\n".join([*lines, "", "\\* within one standard error of the best AUC on fold", ""])
    TABLE.write_text(text, encoding="utf-8")
    return text
