"""The model card: what the classifier is, how it was made, what it can and cannot do.

After Mitchell et al., 2019, https://arxiv.org/abs/1810.03993. Every number in it comes from a metrics file,
params.yaml or the model's own description; the words around them are the same for every run, but for what is
known of the data's source.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cxr.markdown import Tree, estimate, number, percent, picture, span, table, with_interval
from cxr.params import Params
from cxr.provenance import SOURCES


@dataclass(frozen=True)
class Facts:
    """The content of the metrics files, by the name of the file, and what else the card speaks of.

    spec: of models/classifier.json. model_sha256: of models/classifier.safetensors.
    """

    params: Params
    spec: Tree
    model_sha256: str
    metrics: Mapping[str, Tree]


def render(facts: Facts) -> str:
    """Markdown; pictures are referred to as from reports/."""
    parts = [
        _head(facts),
        _data(facts),
        _training(facts),
        _performance(facts),
        _operating_points(facts),
        _calibration(facts),
        _failures(facts),
        _explanations(facts),
        _robustness(facts),
        _retrieval(facts),
        _texts(facts),
        _limits(facts),
    ]
    return "\n".join(line for part in parts for line in [*part, ""]).rstrip() + "\n"


def _head(facts: Facts) -> list[str]:
    params, spec = facts.params, facts.spec
    return [
        f"# Model card: {spec['backbone']} for {', '.join(spec['classes'])}",
        "",
        "Written by the stage `card` from `metrics/`, `params.yaml` and the model's files.",
        "",
        "**For research and teaching. Not a medical device: no output of it may be used to diagnose or treat "
        "anyone.**",
        "",
        *table(
            ("", ""),
            [
                ("classifier", f"{spec['members']} networks `{spec['backbone']}`, their mean probability"),
                ("input", f"grey films of {spec['size']} x {spec['size']} pixels, 8 bit"),
                ("outputs", f"a calibrated probability for each of: {', '.join(spec['classes'])}"),
                ("start", f"`model.weights: {params.model.weights}`"),
                ("views at test time", f"`model.tta: {spec['tta']}`"),
                ("weights", f"`models/classifier.safetensors`, sha256 `{facts.model_sha256}`"),
            ],
        ),
        "",
        "**Intended use**: to compare methods on this data, to teach, to try the pipeline. **Not intended**: "
        "any decision about a patient, other films than those described below, other questions than these "
        "classes.",
    ]


def _data(facts: Facts) -> list[str]:
    params = facts.params
    source = SOURCES[params.download.source]
    data = facts.metrics["data"]
    classes = facts.spec["classes"]
    rows = []
    for split, counts in data["counts"].items():
        total = sum(counts.values())
        shown = [f"{counts[name]:,} ({percent(counts[name] / total)})" for name in classes]
        rows.append((split, f"{total:,}", *shown))
    duplicates = ", ".join(
        f"{name.replace('_', ' ')}: {count}" for name, count in data["duplicates"].items() if count
    )
    lines = [
        "## Data",
        "",
        f"{source.name}. Licence: {source.licence}.",
        "",
        *table(("split", "films", *classes), rows),
        "",
        f"Copies of pictures, byte for byte, and what was dropped for them: {duplicates or 'none'}.",
        "",
        picture("samples", "The first films of each class in each split"),
        "",
        "**Do the splits differ?** A classifier is trained to tell the films of two splits apart, within a "
        "class: an AUC of one half means that it cannot. The brackets hold what chance gives. Embeddings "
        "were fitted to train, so there train may lie apart for that reason alone.",
        "",
    ]
    rows = [
        (
            view,
            pair.replace("_", " and "),
            name,
            f"{number(found['auc'])} [{span(found, 'chance_low', 'chance_high')}]",
        )
        for view, pairs in facts.metrics["shift"].items()
        for pair, names in pairs.items()
        for name, found in names.items()
    ]
    return [*lines, *table(("seen in", "splits", "class", "AUC [chance]"), rows)]


def _training(facts: Facts) -> list[str]:
    params = facts.params
    train, imbalance, augment = params.train, params.imbalance, params.augment
    changes = [name for name, value in vars(augment).items() if value and name not in ("crop", "views")]
    phases = f"{train.epochs} epochs ({train.optimiser}, {train.schedule}, rate {train.lr:g})"
    if params.finetune.epochs:
        second = params.finetune
        phases += f", then {second.epochs} ({second.optimiser}, {second.schedule}, rate {second.lr:g})"
    return [
        "## Training",
        "",
        f"{phases}, batches of {train.batch_size}, `{train.loss}`; weights of `train.select: {train.select}`"
        f"; class imbalance: `{imbalance.strategy}`; augmentation: {', '.join(changes) or 'none'}. Seed "
        f"{params.seed}. `params.yaml` says all of it, `dvc repro` repeats it.",
    ]


def _performance(facts: Facts) -> list[str]:
    test, details = facts.metrics["test"], facts.metrics["details"]["test"]
    films = sum(facts.metrics["data"]["counts"]["test"].values())
    rows = []
    for name, value in test.items():
        if name == "majority_baseline":
            continue
        spread = details["spread"][name]
        seeds = f"{value['std']:.4f}" if "seeds_std" in spread else ""
        rows.append(
            (
                f"`{name}`",
                f"{value['ensemble']:.4f}",
                f"{value['low']:.4f} to {value['high']:.4f}",
                f"{spread['films_std']:.4f}",
                f"{value['mean']:.4f}",
                seeds,
            )
        )
    return [
        "## Performance on test",
        "",
        f"{films:,} films, to which nothing was fitted. `ensemble` is what is shipped; its interval and the "
        "spread over films say what other films would change, the spread over members what another seed "
        "would.",
        f"Always naming the larger class gives an accuracy of {number(test['majority_baseline'])}.",
        "",
        *table(
            ("metric", "ensemble", "95 % interval", "std over films", "mean of members", "std over members"),
            rows,
        ),
    ]


def _operating_points(facts: Facts) -> list[str]:
    points = facts.metrics["details"]["test"].get("operating_points")
    if not points:
        return ["## Decisions", "", "The most probable class is the decision."]
    prevalence = facts.metrics["details"]["test"]["shifted"]["prevalence"][1]
    positive = facts.spec["classes"][1]
    names = ("sensitivity", "specificity", "ppv", "npv", "expected_ppv", "expected_npv")
    rows = [
        (
            name.replace("_", " "),
            f"{point['threshold']:.4f}",
            *(with_interval(point.get(key)) for key in names),
        )
        for name, point in points.items()
    ]
    return [
        "## Decisions",
        "",
        f"Thresholds are chosen on val and described on test. PPV and NPV hold for test's own share of "
        f"{positive}; expected PPV and NPV for a share of {percent(prevalence)} (`evaluate.prevalence`).",
        "",
        *table(
            ("threshold", "", "sensitivity", "specificity", "PPV", "NPV", "expected PPV", "expected NPV"),
            rows,
        ),
    ]


def _calibration(facts: Facts) -> list[str]:
    rows = []
    for split in ("val", "test"):
        found = facts.metrics["details"][split]["calibration"]
        for way in ("before", "temperature", "platt"):
            if way in found:
                scores = [with_interval(found[way][name]) for name in ("ece", "brier", "nll")]
                rows.append((split, CALIBRATIONS[way], *scores))
    details = facts.metrics["details"]["test"]
    shares = ", ".join(
        f"{name} {percent(share)}"
        for name, share in zip(facts.spec["classes"], details["calibration"]["prevalence"], strict=True)
    )
    chance = details["calibration"]["ece_by_chance"]
    return [
        "## Calibration",
        "",
        f"Probabilities refer to films among which the classes have these shares: {shares}. One temperature, "
        f"{number(details['temperature'])}, is fitted on val. With true probabilities, chance alone would "
        f"give an expected calibration error (ECE) of {number(chance['mean'])} on as many films.",
        "",
        *table(("split", "", "ECE", "Brier score", "log-loss"), rows),
        "",
        picture("reliability", "Reliability diagram"),
    ]


CALIBRATIONS = {
    "before": "before",
    "temperature": "with the temperature (shipped)",
    "platt": "with Platt scaling (not shipped)",
}


def _failures(facts: Facts) -> list[str]:
    found = facts.metrics["slices"]
    return [
        "## Where it fails",
        "",
        f"The most frequent mistake: {found['top_confusion']}. {found['worst']}",
        "",
        picture("slices", "Accuracy on slices of test"),
        "",
        picture("failures", "Errors on test, most confident first, each beside the nearest training film"),
    ]


def _explanations(facts: Facts) -> list[str]:
    found = facts.metrics["explain"]
    rows = [
        (
            title,
            found[key]["pairs"],
            number(found[key].get("rank_correlation")),
            number(found[key].get("ssim")),
        )
        for key, title in (
            ("other_class", "the same film, the other class"),
            ("random_head", "the same film, a random head"),
            ("random_weights", "the same film, random weights"),
        )
    ]
    return [
        "## Where it looks",
        "",
        "Grad-CAM shows which places raise a class's score, not why, and not that they are the right ones. "
        "A map that hardly changes with random weights would explain nothing; this is how alike maps are to "
        "those of:",
        "",
        *table(("", "pairs", "rank correlation", "SSIM"), rows),
        "",
        picture("gradcam", "Grad-CAM of errors and of films decided correctly"),
    ]


def _robustness(facts: Facts) -> list[str]:
    found = facts.metrics["robustness"]
    titles = {
        "all": "all kinds of corruption",
        "alike_in_training": "kinds that training's augmentation resembles",
        "new_to_classifier": "kinds that are new to it",
    }
    rows = [("clean films", estimate(found["clean"], "balanced_error"), number(found["clean"]["auc"]))]
    rows += [
        (title, estimate(found[key], "be"), number(found[key]["auc"]))
        for key, title in titles.items()
        if key in found
    ]
    kind, worst = max(found["kinds"].items(), key=lambda item: item[1]["be"])
    return [
        "## Corrupted films",
        "",
        "Test films with noise, blur, compression and changed exposure, after MedMNIST-C "
        "(https://arxiv.org/abs/2406.17536); the balanced error is a mean over severities, from a single "
        "view of each film.",
        "",
        *table(("films", "balanced error", "AUC"), rows),
        "",
        f"The worst is {kind}: {estimate(worst, 'be')}.",
        "",
        picture("robustness", "Balanced error by kind and severity"),
    ]


def _retrieval(facts: Facts) -> list[str]:
    params, details = facts.params, facts.metrics["retrieval_details"]
    gallery = "train and val" if params.index.val else "train"
    rows = [
        (
            among,
            EMBEDDINGS[name],
            *(with_interval(report["overall"].get(measure)) for measure in RETRIEVAL),
            number(report["overall"]["precision_at_1"]["chance"]),
        )
        for section, among in (("gallery", gallery), ("leave_one_out", "the other films of test"))
        for name, report in details[section].items()
    ]
    recalls = facts.metrics["retrieval"]["recall_at_10"]
    return [
        "## Similar films",
        "",
        "How often the films found for a test film have its class, and the share of its class among films "
        f"drawn at random. The gallery that is shipped: films of {gallery}, `index.embedding: "
        f"{params.index.embedding}`, `index.metric: {params.index.metric}`, "
        f"`index.kind: {params.index.kind}`.",
        "",
        *table(("among", "by", *(f"`{measure}`" for measure in RETRIEVAL), "at random"), rows),
        "",
        f"Of the ten nearest films `ivf` finds {percent(recalls['ivf'])}, `hnsw` {percent(recalls['hnsw'])}.",
        "",
        picture("retrieval", "Test films and the nearest films of the gallery"),
        "",
        picture("retrieval_errors", "Test films whose nearest films are mostly of another class"),
        "",
        picture("retrieval_subclasses", "A test film of each sub-class and the nearest films of the gallery"),
    ]


RETRIEVAL = ("precision_at_1", "precision_at_5", "map_at_5", "majority_vote_at_5")
EMBEDDINGS = {"classifier": "the classifier's features", "clip": "`clip_embed`"}


def _texts(facts: Facts) -> list[str]:
    found = facts.metrics["report"]
    rows = [
        (f"`{name}`", with_interval(texts["truth"]), with_interval(texts["classifier"]), texts["unclear"])
        for name, texts in found["prompts"].items()
    ]
    return [
        "## Texts about films",
        "",
        "[The page of cases](cases.md) shows films with texts about them, errors far more often than in "
        f"test: the classifier has {with_interval(found['classifier'])} of them right. The prompt `template` "
        "is no language model's: it puts measurements into sentences, so it agrees with the classifier.",
        "",
        *(
            table(("prompt", "verdict is the truth", "verdict is the classifier's", "unclear"), rows)
            if rows
            else []
        ),
    ]


def _limits(facts: Facts) -> list[str]:
    params = facts.params
    return [
        "## Limits",
        "",
        f"- {SOURCES[params.download.source].limits}",
        "- Intervals speak of other films of the same kind, not of other hospitals, machines or ages.",
        "- Predictive values change with the share of ill people; a probability does too.",
        "- Whether test had a say in the choice of these parameters is said in the README.",
    ]
