"""How often `cxr compare` calls equal trainings different, and how often it finds a difference of .005 in
AUC.

    python -m benchmarks.compare_false_alarms [--pairs 3000] [--pool FILE.npz [FILE.npz]]

Without --pool it prints the tables of docs/comparison.md. Radiographs and members are drawn from a model, new
ones for every pair of runs (another seed for each row). Member i of run s assigns radiograph x, of 624 with
390 positives, the
logit

    (quality(s) + talent(s, i)) * 1.5 * (+1 positive, -1 negative)
        + radiograph(x) + own(s, x) + error(s, i, x)

radiograph, N(0, 1), is the difficulty of the radiograph for all members; own, N(0, OWN), for this kind of
training; error, N(0, ERROR), for this member; talent, N(0, TALENT), the quality of the member. Members of A
and B with the same i have talents and errors with the given correlation. That gives an AUC of .979.

With one pool, pairs of runs are disjoint groups of really trained members, with two pools group i comes from
each with the same seeds, in a random order: `labels` (N,) of 0 and 1 and `probabilities` (runs, N) of class
1, from benchmarks/training_pool.py. All are about the same radiographs.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, norm

from cxr.commands.compare.estimate import LEVEL, Estimate, estimate
from cxr.evaluation.delong import Contributions, auc_contributions

POSITIVES, NEGATIVES, SIGNAL = 390, 234, 1.5
Pair = tuple[np.ndarray, np.ndarray, np.ndarray]  # labels (N,), scores of A (m, N) and of B (m, N)
Draw = Callable[[np.random.Generator], Pair]
SIZES = ((3, 3), (4, 4), (8, 8), (4, 5), (2, 8))
CORRELATIONS = (0.0, 0.5, 0.9)
ICC = 0.7


@dataclass(frozen=True)
class Model:
    """Of members and radiographs, see above. b: the quality of B where that of A is 1. per_patient:
    radiographs of each patient, of whose difficulties and errors `ICC` of the variance is the patient's."""

    own: float = 0.1
    talent: float = 0.02
    error: float = 0.3
    correlation: float = 0.0
    b: float = 1.0
    per_patient: int = 1

    @property
    def spread(self) -> float:
        """The standard deviation of the difference of the scores of a member for two radiographs."""
        return float(np.sqrt(2 * (1 + self.own**2 + self.error**2) + (2 * SIGNAL * self.talent) ** 2))

    def area(self, quality: float) -> float:
        """The expected AUC of a member."""
        return float(norm.cdf(2 * SIGNAL * quality / self.spread))

    @property
    def difference(self) -> float:
        return self.area(self.b) - self.area(1.0)

    def better_by(self, difference: float) -> float:
        """The quality of a B whose AUC is higher by `difference`."""
        return float(norm.ppf(self.area(1.0) + difference) * self.spread / (2 * SIGNAL))


# What is varied between the rows of the table of false alarms: kinds of training with few and with many
# radiographs that are hard for one of them alone.
KINDS = {"one kind of training": Model(own=0.0), "two kinds": Model(own=0.3)}
# Measured between committed runs of this repository with the same seeds, on 624 test radiographs: SE over
# cases and SD over seeds of the difference in AUC.
MEASURED = {
    "flip_zoom for flip (d284cb6, caab0db)": (0.0005, 0.0025),
    "augmentation (e6c1789, 4f76214)": (0.0017, 0.0015),
    "old and new default (4b43a61, e6c1789)": (0.0032, 0.0013),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--pool", type=Path, nargs="+", metavar="FILE.npz", help="one pool, or two")
    arguments = parser.parse_args()
    if arguments.pool:
        print(table_of_pools(arguments.pool, arguments.pairs))
        return
    print(f"Written by `python -m benchmarks.compare_false_alarms --pairs {arguments.pairs}`.\n")
    print(table_of_false_alarms(arguments.pairs))
    print()
    print(table_of_power(arguments.pairs))
    print()
    print(table_of_patients(arguments.pairs))


def table_of_false_alarms(pairs: int) -> str:
    lines = [
        f"False alarms in AUC at a nominal 5 %, {pairs:,} pairs of equal trainings a row (a rate of 5 % then "
        f"has a standard error of {100 * np.sqrt(0.05 * 0.95 / pairs):.1f} points). `cxr compare` uses the "
        "paired form where seeds are shared, and the unpaired form elsewhere; before, it always used the "
        "unpaired one.",
        "",
        "| members | correlation of partners | kinds | paired | unpaired | `cxr compare` |",
        "|---|---|---|---|---|---|",
    ]
    for a, b in SIZES:
        for correlation in CORRELATIONS:
            for title, kind in KINDS.items():
                model = Model(kind.own, kind.talent, kind.error, correlation)
                rates = significant(from_model(a, b, model), pairs, seed=len(lines))
                form = "none: too few members" if min(a, b) < 3 else f"{rates['paired']:.1%}"
                if correlation == 0 and min(a, b) >= 3:
                    form = f"{rates['paired']:.1%}, other seeds {rates['unpaired']:.1%}"
                lines.append(
                    f"| {a} and {b} | {correlation:g} | {title} | {rates['paired']:.1%} "
                    f"| {rates['unpaired']:.1%} | {form} |"
                )
    return "\n".join(lines)


def table_of_power(pairs: int) -> str:
    """Power against .005 with the variances that were measured, after fitting the model to each."""
    lines = [
        f"Power of five members a side against a true difference of .005 in AUC, {pairs:,} pairs a row, with "
        "the variances of the difference measured between committed runs that share seeds.",
        "",
        "| measured between | SE over cases | SD over seeds | paired | unpaired (before) | smallest "
        "difference found with 80 % power, paired | unpaired |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, (cases, seeds) in MEASURED.items():
        model = fitted(cases, seeds)
        better = Model(model.own, model.talent, model.error, model.correlation, model.better_by(0.005))
        draw = from_model(5, 5, better)
        generator = np.random.default_rng(0)
        forms = [both_forms(*draw(generator)) for _ in range(pairs)]
        means = {
            form: (
                np.mean([each[form].p < LEVEL for each in forms]),
                np.mean([each[form].detectable() for each in forms]),
            )
            for form in ("paired", "unpaired")
        }
        lines.append(
            f"| {title} | {cases:.4f} | {seeds:.4f} | {means['paired'][0]:.1%} | {means['unpaired'][0]:.1%} "
            f"| {means['paired'][1]:.4f} | {means['unpaired'][1]:.4f} |"
        )
    return "\n".join(lines)


def table_of_patients(pairs: int) -> str:
    lines = [
        f"False alarms in AUC at a nominal 5 % where a patient has several radiographs and {ICC:.0%} of the "
        "variance of their difficulties and errors is the patient's (ICC), five members a side, two kinds "
        f"of training, {pairs:,} pairs a row. Before, every radiograph counted as a patient of its own.",
        "",
        "| radiographs a patient | members | radiographs resampled (before) | patients resampled |",
        "|---|---|---|---|",
    ]
    for per_patient in (1, 2, 3):
        for form, correlation in (("paired", 0.9), ("unpaired", 0.0)):
            model = Model(own=0.3, correlation=correlation, per_patient=per_patient)
            draw, generator = from_model(5, 5, model), np.random.default_rng(len(lines))
            called = np.zeros(2)
            for _ in range(pairs):
                pair = draw(generator)
                patients = np.arange(len(pair[0])) // per_patient  # no patient has both classes
                found = [both_forms(*pair, of)[form].p < LEVEL for of in (None, patients)]
                called += found
            cells = " | ".join(f"{rate:.1%}" for rate in called / pairs)
            lines.append(f"| {per_patient} | {form} | {cells} |")
    return "\n".join(lines)


def fitted(cases: float, seeds: float) -> Model:
    """The model whose difference has these SE over cases and SD over seeds, in the mean over 40 draws."""
    grid = [Model(own, correlation=r) for own in (0.0, 0.05, 0.1, 0.2, 0.3) for r in (0.0, 0.5, 0.7, 0.9)]

    def misfit(model: Model) -> float:
        draw, generator = from_model(5, 5, model), np.random.default_rng(1)
        found = [both_forms(*draw(generator))["paired"] for _ in range(40)]
        case = np.sqrt(np.mean([each.between_case for each in found]))
        seed = np.sqrt(np.mean([each.between_seed[0] for each in found]))
        return float(np.log(case / cases) ** 2 + np.log(seed / seeds) ** 2)

    return min(grid, key=misfit)


def table_of_pools(paths: list[Path], pairs: int) -> str:
    lines = [
        f"| trained runs: {' against '.join(path.name for path in paths)} | mean difference | correlation of "
        "partners | paired | unpaired |",
        "|---|---|---|---|---|",
    ]
    for members in (3, 4, 5, 8):
        draw, generator = from_pools(paths, members), np.random.default_rng(0)
        forms = [both_forms(*draw(generator)) for _ in range(pairs)]
        called = {form: [each[form].p < LEVEL for each in forms] for form in ("paired", "unpaired")}
        cells = []
        for hits in called.values():
            low, high = binomtest(int(np.sum(hits)), pairs).proportion_ci()
            cells.append(f"{np.mean(hits):.1%} ({low:.1%} to {high:.1%})")
        difference = np.mean([each["paired"].difference for each in forms])
        lines.append(
            f"| {members} and {members} | {difference:+.5f} | {correlation_of(paths)} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def correlation_of(paths: list[Path]) -> str:
    """Of the AUCs of runs with the same seed."""
    if len(paths) == 1:
        return "other seeds"
    labels, pools = load_pools(paths)
    areas = [auc_contributions(labels[:, None] == 1, pool[:, :, None]).values for pool in pools]
    return f"{np.corrcoef(*areas)[0, 1]:.2f}"


def significant(draw: Draw, pairs: int, seed: int) -> dict[str, float]:
    """The proportion of pairs with a p-value below `LEVEL`, by form."""
    generator = np.random.default_rng(seed)
    forms = [both_forms(*draw(generator)) for _ in range(pairs)]
    return {form: float(np.mean([each[form].p < LEVEL for each in forms])) for form in forms[0]}


def both_forms(
    labels: np.ndarray, a: np.ndarray, b: np.ndarray, patients: np.ndarray | None = None
) -> dict[str, Estimate]:
    """The estimate from paired members, the first of each side, and from all as unpaired ones."""
    sides = [auc_contributions(labels[:, None] == 1, scores[:, :, None]) for scores in (a, b)]
    pairs = min(len(a), len(b))
    partners = [Contributions(side.values[:pairs], side.images[:pairs]) for side in sides]
    return {
        "paired": estimate(*partners, labels, "paired", patients),
        "unpaired": estimate(*sides, labels, "unpaired", patients),
    }


def from_model(a: int, b: int, model: Model) -> Draw:
    """Runs of `a` and `b` members."""
    labels = np.repeat([1, 0], [POSITIVES, NEGATIVES])
    same, other = np.sqrt(model.correlation), np.sqrt(1 - model.correlation)

    def draw(generator: np.random.Generator) -> Pair:
        def normal(*rows: int) -> np.ndarray:
            """(*rows, N), of variance 1, alike within patients."""
            own = generator.normal(size=(*rows, len(labels)))
            if model.per_patient == 1:
                return own
            shared = generator.normal(size=(*rows, len(labels) // model.per_patient))
            return np.sqrt(ICC) * shared.repeat(model.per_patient, axis=-1) + np.sqrt(1 - ICC) * own

        image = normal()
        talent, error = generator.normal(size=(max(a, b), 1)), normal(max(a, b))

        def side(members: int, quality: float) -> np.ndarray:
            q = same * talent[:members] + other * generator.normal(size=(members, 1))
            e = same * error[:members] + other * normal(members)
            hard = image + model.own * normal()
            signal = (quality + model.talent * q) * SIGNAL * (2 * labels - 1)
            return signal + hard + model.error * e

        return labels, side(a, 1.0), side(b, model.b)

    return draw


def load_pools(paths: list[Path]) -> tuple[np.ndarray, list[np.ndarray]]:
    pools = [dict(np.load(path)) for path in paths]
    labels = pools[0]["labels"]
    if any(not np.array_equal(pool["labels"], labels) for pool in pools):
        raise SystemExit("error: the pools are not about the same radiographs")
    return labels, [pool["probabilities"] for pool in pools]


def from_pools(paths: list[Path], members: int) -> Draw:
    """Groups of `members` runs: two disjoint ones of one pool, or the runs with the same seeds of two pools,
    which of the two is A being drawn for each pair of groups."""
    labels, pools = load_pools(paths)
    least = min(len(pool) for pool in pools)
    if least < (2 * members if len(pools) == 1 else members):
        raise SystemExit(f"error: {least} runs are too few for two groups of {members}")

    def draw(generator: np.random.Generator) -> Pair:
        runs = generator.permutation(least)
        if len(pools) == 1:
            a, b = pools[0][runs[: 2 * members]].reshape(2, members, -1)
        else:
            one, two = generator.permutation(2)
            a, b = pools[one][runs[:members]], pools[two][runs[:members]]
        return labels, a, b

    return draw


if __name__ == "__main__":
    main()
