"""False alarm rate of `cxr compare` in AUC: 4 %; its power against a difference of 0.003: 20 to 45 %.

    python -m benchmarks.compare_false_alarms [--pairs 1000] [--members 4] [--pool FILE.npz [FILE.npz]]

Four members a side, n = 1,000 pairs: the false alarm rate is 3.9, 3.9 and 4.1 % (95 % intervals from 2.8 to
5.5 %) for three kinds of equal trainings, at a level of 5 %. The power against a difference of 0.0029 is
44.9 % if members differ only in the radiographs they misclassify, 19.9 % if they also differ in quality. The
"naive" test, which adds s^2/m to the total case variance of the difference and so counts the interaction
of member and case twice, has false alarm rates of 0.6, 1.5 and 2.6 % and a power of 27.9 and 14.3 %.

On trained runs: 1,000 disjoint pairs of groups out of 64 runs of the default with 3 epochs (test AUC
.9650 +- .0042): 4.8 % called different (3.6 to 6.3 %; naive: 3.6 %). Against groups of runs of 2
epochs, worse by .0034: a power of 9.2 %; of 1 epoch, worse by .0111: 47.9 % (44.8 to 51.0 %); without
augmentation, worse by .0022: 0.2 %. All pairs are about the same 624 radiographs, so the last three numbers
hold for these radiographs, not for others: a kind of training that is worse by .0022 because it errs on other
radiographs cannot be detected on them with any number of seeds.

Without --pool, radiographs and members are drawn from a model, new ones for every pair. Member i of side s
assigns radiograph x, of 624 with 390 positives, the logit

    q(s, i) * 1.5 * (+1 positive, -1 negative) + radiograph(x) + own(s, x) + error(s, i, x)

radiograph, N(0, 1), is the difficulty of the radiograph for all members; own, N(0, OWN), for this kind of
training; error, N(0, 0.3), for this member; q, N(quality, TALENT), the quality of the member. That gives an
AUC of 0.979, a between-seed SD of 0.0017 (0.0027 with TALENT 0.02) and a between-case SE of 0.0044; the
committed run has 0.978, 0.0021 and 0.0066.

With --pool FILE.npz: `labels` (N,) of 0 and 1 and `probabilities` (runs, N) of class 1, of trainings that
differ in their seed alone (benchmarks/training_pool.py). Pairs are disjoint groups of them, on the same
radiographs. With a second pool, on the same radiographs, one group comes from each: the power against the
difference between the two pools.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from cxr.commands.compare.comparison import LEVEL, Estimate, estimate
from cxr.evaluation.delong import auc_contributions, case_variance

POSITIVES, NEGATIVES, SIGNAL, ERROR = 390, 234, 1.5, 0.3
Pair = tuple[np.ndarray, np.ndarray, np.ndarray]  # labels (N,), scores of A (m, N) and of B (m, N)

# title: OWN, TALENT, quality of B
MODELS = {
    "equal: members differ in the radiographs they misclassify": (0.0, 0.0, 1.0),
    "equal: members differ in quality as well": (0.0, 0.02, 1.0),
    "equal: two kinds of training, each with its own hard radiographs": (0.3, 0.02, 1.0),
    "B better: members differ in the radiographs they misclassify": (0.0, 0.0, 1.03),
    "B better: members differ in quality as well": (0.0, 0.02, 1.03),
    "B better: two kinds of training, each with its own hard radiographs": (0.3, 0.02, 1.1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--members", type=int, default=4, help="of each side")
    parser.add_argument("--pool", type=Path, nargs="+", metavar="FILE.npz", help="one pool, or two")
    arguments = parser.parse_args()
    if arguments.pool:
        cases = {" against ".join(map(str, arguments.pool)): from_pools(arguments.pool, arguments.members)}
    else:
        cases = {title: from_model(arguments.members, *model) for title, model in MODELS.items()}
    print(
        f"{arguments.pairs} pairs, {arguments.members} members a side: proportion of significant differences "
        "in AUC\n"
    )
    print("| case | mean B - A | called different | 95 % interval | naive |")
    print("|---|---|---|---|---|")
    for title, draw in cases.items():
        generator = np.random.default_rng(0)
        outcomes = [one_pair(*draw(generator)) for _ in range(arguments.pairs)]
        difference, called, naive = np.mean(outcomes, axis=0)
        low, high = binomtest(round(called * len(outcomes)), len(outcomes)).proportion_ci()
        print(f"| {title} | {difference:+.4f} | {called:.1%} | {low:.1%} to {high:.1%} | {naive:.1%} |")


def one_pair(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, bool, bool]:
    """B - A, whether it is significant, and whether it would be by the naive test."""
    sides = [auc_contributions(labels[:, None] == 1, scores[:, :, None]) for scores in (a, b)]
    result = estimate(sides[0], sides[1], labels)
    total = float(case_variance(sides[1].images.mean(axis=0) - sides[0].images.mean(axis=0), labels))
    naive = Estimate(result.difference, total, result.between_seed, result.interaction, result.members)
    return result.difference, result.p < LEVEL, naive.p < LEVEL


def from_model(
    members: int, own: float, talent: float, quality: float
) -> Callable[[np.random.Generator], Pair]:
    labels = np.repeat([1, 0], [POSITIVES, NEGATIVES])

    def draw(generator: np.random.Generator) -> Pair:
        image = generator.normal(size=len(labels))

        def side(mean: float) -> np.ndarray:
            q = mean + talent * generator.normal(size=(members, 1))
            hard = image + own * generator.normal(size=len(labels))
            return (
                q * SIGNAL * (2 * labels - 1) + hard + ERROR * generator.normal(size=(members, len(labels)))
            )

        return labels, side(1.0), side(quality)

    return draw


def from_pools(paths: list[Path], members: int) -> Callable[[np.random.Generator], Pair]:
    """Groups of `members` runs: two disjoint ones of one pool, or one of each of two pools."""
    pools = [dict(np.load(path)) for path in paths]
    labels = pools[0]["labels"]
    if any(not np.array_equal(pool["labels"], labels) for pool in pools):
        raise SystemExit("error: the pools are not about the same radiographs")
    least = min(len(pool["probabilities"]) for pool in pools)
    if least < (2 * members if len(pools) == 1 else members):
        raise SystemExit(f"error: {least} runs are too few for two groups of {members}")

    def draw(generator: np.random.Generator) -> Pair:
        if len(pools) == 1:
            runs = generator.permutation(len(pools[0]["probabilities"]))[: 2 * members]
            a, b = pools[0]["probabilities"][runs].reshape(2, members, -1)
        else:
            a, b = (generator.permutation(pool["probabilities"])[:members] for pool in pools)
        return labels, a, b

    return draw


if __name__ == "__main__":
    main()
