"""Build the gallery that similar radiographs are searched in, and measure how well test radiographs find
their like."""

from collections.abc import Mapping
from typing import Any, get_args

import faiss
import numpy as np

from cxr.core import dataset
from cxr.core.dataset import Dataset, load_dataset
from cxr.core.device import configure
from cxr.core.errors import UserError, run
from cxr.core.files import write_json
from cxr.embeddings import retrieval
from cxr.embeddings.gallery import Embedding, Gallery, Meta, Metric, SearchResult, Vectors
from cxr.embeddings.retrieval import retrieval_report
from cxr.embeddings.subclasses import subclass_of_each
from cxr.embeddings.vectors import embed_rows
from cxr.figures import retrieval as retrieval_figures
from cxr.figures.retrieval import Search
from cxr.params import load_params

DEPTH = max(retrieval.DEPTHS)


def main() -> None:
    params = load_params()
    settings, resamples = params.index, params.evaluate.bootstrap
    device = configure(params.compute.device, params.compute.threads)
    faiss.omp_set_num_threads(params.compute.threads)
    data = load_dataset()
    rows = data.rows("train", "val") if settings.val else data.rows("train")
    queries = data.rows("test")
    if len(rows) < DEPTH:
        raise UserError(
            f"{dataset.LABELS}: the gallery would hold {len(rows)} radiographs, retrieval needs {DEPTH}"
        )

    # Both embeddings are measured, one of them is kept.
    held, asked = (
        {name: embed_rows(name, data, part, params, device) for name in get_args(Embedding)}
        for part in (rows, queries)
    )
    galleries = {
        name: Gallery.build(vectors, rows, name, settings.metric, settings.kind)
        for name, vectors in held.items()
    }
    found = {name: gallery.search(asked[name], DEPTH) for name, gallery in galleries.items()}
    alone = {name: leave_one_out(vectors, queries, name, settings.metric) for name, vectors in asked.items()}
    recalls = recalls_at_10(held[settings.embedding], asked[settings.embedding], settings.metric)

    labels, classes = data.labels[queries], len(data.classes)

    def describe(neighbours: dict[Embedding, np.ndarray], available: np.ndarray) -> dict[Embedding, Any]:
        return {
            name: retrieval_report(data.labels[near], labels, available, data.classes, resamples)
            for name, near in neighbours.items()
        }

    of_gallery, of_test = (np.bincount(data.labels[part], minlength=classes) for part in (rows, queries))
    without_one = np.maximum(of_test - np.eye(classes, dtype=int), 0)
    details = {
        "gallery": describe(
            {name: each.rows for name, each in found.items()}, np.tile(of_gallery, (classes, 1))
        ),
        "leave_one_out": describe(alone, without_one),
    }
    headline = {section: overall(of_embedding) for section, of_embedding in details.items()}
    galleries[settings.embedding].save()
    write_json("metrics/retrieval.json", headline | {"recall_at_10": recalls})
    write_json("metrics/retrieval_details.json", details)
    draw_figures(data, queries, found[settings.embedding], galleries[settings.embedding].meta)
    for name, section in headline.items():
        for embedding in get_args(Embedding):
            values = (f"{key} {section[embedding][key]:.4f}" for key in PRINTED if key in section[embedding])
            print(f"{name:14}{embedding:11}{', '.join(values)}")
        print(f"{name:14}chance     {section['chance']:.4f}")


def draw_figures(data: Dataset, queries: np.ndarray, found: SearchResult, meta: Meta) -> None:
    """plots/retrieval*.png of what was found in the gallery of `meta` for the test radiographs `queries`,
    (Q,)."""
    hits = data.labels[found.rows] == data.labels[queries][:, None]
    closeness = found.values[:, 0] if meta.metric == "cosine" else -found.values[:, 0]
    groups = subclass_of_each(data)
    retrieval_figures.draw_retrieval(
        Search(data.images, queries, found.rows, found.values, meta.measure),
        names=np.array(data.classes)[data.labels],
        subclasses=groups,
        hardest=retrieval.hardest(hits, closeness, data.labels[queries]),
        first=retrieval.first_of_each(groups[queries]),
    )


PRINTED = ("precision_at_1", "precision_at_5", "map_at_5", "majority_vote_at_5")


def leave_one_out(asked: Vectors, queries: np.ndarray, embedding: Embedding, metric: Metric) -> np.ndarray:
    """(Q, k) rows of the test radiographs nearest to each of the test radiographs `queries`, (Q,), itself
    left out.

    Exact. k is 10, or less where test has fewer other radiographs.
    """
    depth = min(DEPTH, len(queries) - 1)
    nearest = Gallery.build(asked, queries, embedding, metric, "flat").search(asked, depth + 1).rows
    return retrieval.without_self(nearest, queries, depth)


def recalls_at_10(held: Vectors, asked: Vectors, metric: Metric) -> dict[str, float]:
    """Of the ten radiographs that are nearest, the share that each approximate kind of gallery finds."""
    found = {}
    for kind in ("flat", "ivf", "hnsw"):
        gallery = Gallery.build(held, np.arange(len(held.values)), "classifier", metric, kind)
        found[kind] = gallery.search(asked, 10).rows
    return {kind: retrieval.recall(found[kind], found["flat"]) for kind in ("ivf", "hnsw")}


def overall(details: Mapping[Embedding, retrieval.Report]) -> dict[str, Any]:
    """The values over all queries, for `dvc metrics diff`, and the precision of radiographs drawn at
    random."""
    values = {name: report["overall"] for name, report in details.items()}
    return {
        **{
            name: {measure: each["value"] for measure, each in found.items()}
            for name, found in values.items()
        },
        "chance": values["classifier"]["precision_at_1"]["chance"],
    }


if __name__ == "__main__":
    run(main)
