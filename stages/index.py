"""Index the training films by the classifier's features, and measure how well test films find their like."""

import faiss
import numpy as np

from cxr import figures, retrieval, runtime
from cxr.data import packed
from cxr.errors import UserError, run
from cxr.files import write_json
from cxr.models import classifier
from cxr.params import load

DEPTHS = (1, 5, 10)
SHOWN = (0, 20, 70)  # the queries of the published ResNet-18 system's gallery


def main() -> None:
    params = load()
    device = runtime.configure(params.compute)
    faiss.omp_set_num_threads(params.compute.threads)
    data = packed.load()
    model = classifier.load()
    gallery, queries = data.rows("train"), data.rows("test")
    if len(gallery) < max(DEPTHS):
        raise UserError(f"train has {len(gallery)} films, retrieval needs {max(DEPTHS)}")

    index = retrieval.build_index(retrieval.embed(model, data.images[gallery], device))
    meta = retrieval.Meta(
        embedding="classifier",
        metric="cosine",
        dimensions=index.d,
        model_sha256=retrieval.model_sha256(),
        rows=gallery.tolist(),
    )
    retrieval.save(index, meta)

    vectors = retrieval.unit(retrieval.embed(model, data.images[queries], device))
    similarity, neighbours = index.search(vectors, max(DEPTHS))
    report = evaluate(data.labels[gallery], data.labels[queries], neighbours, data.classes)
    write_json("metrics/retrieval.json", report)
    picture(data, gallery, queries, neighbours, similarity)
    print(", ".join(f"{name} {value:.4f}" for name, value in report["overall"].items()))


def evaluate(
    gallery: np.ndarray, queries: np.ndarray, neighbours: np.ndarray, classes: list[str]
) -> dict[str, dict[str, float]]:
    """Precision at each depth beside chance, over all queries and for the queries of each class."""
    values = {f"precision_at_{k}": retrieval.precision_at(k, gallery, queries, neighbours) for k in DEPTHS}
    values["chance"] = retrieval.chance(gallery, queries)
    groups = {"overall": np.ones(len(queries), bool)}
    groups |= {name: queries == label for label, name in enumerate(classes)}
    return {
        group: {name: float(value[mine].mean()) for name, value in values.items()}
        for group, mine in groups.items()
    }


def picture(
    data: packed.Packed,
    gallery: np.ndarray,
    queries: np.ndarray,
    neighbours: np.ndarray,
    similarity: np.ndarray,
) -> None:
    names = np.array(data.classes)[data.labels]
    rows = [
        figures.Neighbours(
            title=f"test film {shown}",
            film=data.images[queries[shown]],
            truth=names[queries[shown]],
            films=[data.images[gallery[i]] for i in neighbours[shown][:5]],
            classes=[names[gallery[i]] for i in neighbours[shown][:5]],
            similarity=similarity[shown][:5].tolist(),
        )
        for shown in SHOWN
        if shown < len(queries)
    ]
    figures.neighbour_rows("plots/retrieval.png", rows, "Test films and their five nearest training films")


if __name__ == "__main__":
    run(main)
