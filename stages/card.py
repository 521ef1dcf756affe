"""Write the model card: the template model_card.md.j2 filled in with the metrics of other stages.

After Mitchell et al., 2019, https://arxiv.org/abs/1810.03993. Every number on it comes from a metrics file,
params.yaml, models/classifier.json or docs/test_ledger.yaml. The YAML head is the metadata that Hugging Face
reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from cxr.core.dataset import small_classes
from cxr.core.errors import UserError, run
from cxr.core.files import atomic, read_json, sha256
from cxr.params import Augment, load_params
from cxr.reports.ledger import load_ledger
from cxr.reports.markdown import Tree, render_template

METRICS = (
    "data",
    "test",
    "details",
    "calibration",
    "clinical",
    "retrieval",
    "retrieval_details",
    "subgroups",
    "explain",
    "robustness",
    "shift",
    "report",
)
SPEC, WEIGHTS = Path("models/classifier.json"), Path("models/classifier.safetensors")
TEMPLATE, CARD = Path(__file__).with_name("model_card.md.j2"), Path("reports/model_card.md")
# The names on Hugging Face of the metrics in metrics/test.json.
HUB_METRICS = {
    "auc": "roc_auc",
    "auc_ovr_macro": "roc_auc",
    "average_precision": "average_precision",
    "average_precision_macro": "average_precision",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "sensitivity": "recall",
    "specificity": "specificity",
    "f1_macro": "f1",
    "mcc": "matthews_correlation",
    "brier": "brier_score",
}


def main() -> None:
    params = load_params()
    spec = read_json(existing(SPEC))
    metrics = {name: read_json(existing(Path(f"metrics/{name}.json"))) for name in METRICS}
    text = render_template(
        TEMPLATE,
        head=head(spec, metrics).to_yaml(),
        spec=spec,
        sha256=sha256(existing(WEIGHTS)),
        augmentation=active(params.augment),
        resolution=params.augment.resolution,
        seed=params.seed,
        calibrate=params.calibrate,
        small={split: small_classes(metrics["data"]["counts"][split]) for split in ("val", "test")},
        model=params.model,
        train=params.train,
        finetune=params.finetune,
        imbalance=params.imbalance,
        index=params.index,
        writer=params.report,
        ledger=load_ledger(),
        **metrics,
    )
    with atomic(CARD) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    print(f"{CARD}: from {len(metrics)} metrics files")


def existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: no such file, and the model card needs it; run `dvc repro`")
    return path


def head(spec: Tree, metrics: Mapping[str, Any]) -> ModelCardData:
    """The metadata that Hugging Face shows and searches. The licence is that of the training images."""
    source = metrics["data"].get("source")
    if not source:
        raise UserError("metrics/data.json: without `source`; run `dvc repro split`")
    published = {name: value for name, value in metrics["test"].items() if name in HUB_METRICS}
    return ModelCardData(
        license=source["licence_id"],
        datasets=[source["hub_id"]] if source["hub_id"] else None,
        metrics=[HUB_METRICS[name] for name in published],
        tags=["chest-x-ray", "radiology", "medical-imaging"],
        library_name="pytorch",
        pipeline_tag="image-classification",
        model_name=f"cxr-{spec['backbone']}",
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=source["hub_id"] or source["id"],
                dataset_name=source["name"],
                dataset_split="test",
                metric_type=HUB_METRICS[name],
                metric_name=name,
                metric_value=value["ensemble"],
            )
            for name, value in published.items()
        ],
    )


def active(augment: Augment) -> dict[str, float]:
    """The augmentations that are on; `views` and `resolution` are none, and a crop of 1 keeps the whole
    image."""
    off, others = {"crop": 1.0}, ("views", "resolution")
    return {name: value for name, value in augment if name not in others and value != off.get(name, 0)}


if __name__ == "__main__":
    run(main)
