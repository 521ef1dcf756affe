"""Write the model card: what other stages measured goes into the words of model_card.md.j2.

After Mitchell et al., 2019, https://arxiv.org/abs/1810.03993. Every number on it is one of a metrics file,
params.yaml or the model's own description. The YAML head is what Hugging Face reads of a card.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from cxr.core.errors import UserError, run
from cxr.core.files import atomic, read_json, sha256
from cxr.params import Augment, load_params
from cxr.reports.markdown import Tree, render_template

METRICS = (
    "data",
    "test",
    "details",
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
# What metrics of metrics/test.json are called on Hugging Face.
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
    spec = read_json(there(SPEC))
    metrics = {name: read_json(there(Path(f"metrics/{name}.json"))) for name in METRICS}
    text = render_template(
        TEMPLATE,
        head=head(spec, metrics).to_yaml(),
        spec=spec,
        sha256=sha256(there(WEIGHTS)),
        augmentation=changes(params.augment),
        seed=params.seed,
        model=params.model,
        train=params.train,
        finetune=params.finetune,
        imbalance=params.imbalance,
        index=params.index,
        writer=params.report,
        **metrics,
    )
    with atomic(CARD) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    print(f"{CARD}: {len(metrics)} metrics files in words")


def there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: not there, and the model card speaks of it; run `dvc repro`")
    return path


def head(spec: Tree, metrics: Mapping[str, Any]) -> ModelCardData:
    """What Hugging Face shows and searches. The licence is that of the images: weights are made of them."""
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


def changes(augment: Augment) -> dict[str, float]:
    """What augmentation does; `views` only says how often, and a crop to all of the image does nothing."""
    off = {"crop": 1.0}
    return {name: value for name, value in augment if name != "views" and value != off.get(name, 0)}


if __name__ == "__main__":
    run(main)
