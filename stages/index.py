"""Build the gallery for the search of similar radiographs, measure how often the nearest neighbours of test
radiographs share their class and how far apart they are, and map the embeddings."""

from collections.abc import Mapping
from typing import Any, get_args

import faiss
import numpy as np

from cxr.core import dataset
from cxr.core.dataset import Dataset, load_dataset
from cxr.core.device import configure
from cxr.core.errors import UserError, run
from cxr.core.files import write_json
from cxr.core.probabilities import decide
from cxr.embeddings import retrieval
from cxr.embeddings.gallery import SPLITS, Embedding, Gallery, Meta, SearchResult, Vectors, prepared
from cxr.embeddings.index_kinds import Kind, Metric
from cxr.embeddings.projection import sample_rows, to_plane
from cxr.embeddings.retrieval import RetrievalReport, retrieval_report
from cxr.embeddings.spread import class_spread, neighbour_values
from cxr.embeddings.subclasses import subclass_of_each
from cxr.embeddings.vectors import embed_rows
from cxr.figures import retrieval as retrieval_figures
from cxr.figures.embedding_map import EmbeddingMap, draw_map
from cxr.figures.retrieval import SHOWN, Search
from cxr.inference.calibration import load_calibration
from cxr.inference.predictions import check_predictions, load_predictions
from cxr.params import load_params

DEPTH = max(retrieval.DEPTHS)
# In figures, by `index.gallery`.
GALLERIES = {
    "train": "train",
    "train_val": "train and val",
    "test": "test (leaks by design: the queries are in it, each left out of its own result)",
}


def main() -> None:
    params = load_params()
    settings, resamples = params.index, params.evaluate.bootstrap
    device = configure(params.compute.device, params.compute.threads)
    faiss.omp_set_num_threads(params.compute.threads)
    data = load_dataset()
    rows, queries = data.rows(*SPLITS[settings.gallery]), data.rows("test")
    held = settings.gallery == "test"  # the gallery holds the queries
    needed = DEPTH + held
    if len(rows) < needed:
        raise UserError(
            f"{dataset.LABELS}: the gallery would hold {len(rows)} radiographs, retrieval needs {needed}"
        )
    test = load_predictions().of("test")
    check_predictions(test, data)
    wrong = queries[decide(test.ensemble, load_calibration().threshold) != test.labels]

    # Both embeddings are measured, one of them is saved.
    of_gallery, of_queries = (
        {name: embed_rows(name, settings.metric, data, part, params, device) for name in get_args(Embedding)}
        for part in (rows, queries)
    )
    galleries = {
        name: Gallery.build(vectors, rows, name, settings.metric, settings.kind)
        for name, vectors in of_gallery.items()
    }
    results = {name: gallery.search(of_queries[name], DEPTH, queries) for name, gallery in galleries.items()}
    others = {
        name: leave_one_out(vectors, queries, name, settings.metric) for name, vectors in of_queries.items()
    }
    chosen = settings.embedding
    recalls = recalls_at_10(of_gallery[chosen], of_queries[chosen], settings.metric)

    labels, classes = data.labels[queries], len(data.classes)

    def describe(neighbours: dict[Embedding, np.ndarray], available: np.ndarray) -> dict[Embedding, Any]:
        return {
            name: retrieval_report(
                data.labels[nearest], labels, available, data.classes, resamples, test.patients
            )
            for name, nearest in neighbours.items()
        }

    in_gallery, in_test = (np.bincount(data.labels[part], minlength=classes) for part in (rows, queries))
    without_query = np.maximum(in_test - np.eye(classes, dtype=int), 0)
    details = {
        "gallery": describe(
            {name: result.rows for name, result in results.items()},
            without_query if held else np.tile(in_gallery, (classes, 1)),
        ),
        "leave_one_out": describe(others, without_query),
    }
    headline = {section: overall(of_embedding) for section, of_embedding in details.items()}
    vectors = {
        name: prepared(embedded[chosen].values, settings.metric)
        for name, embedded in (("gallery", of_gallery), ("test", of_queries))
    }
    distances = {
        "measure": galleries[chosen].meta.measure,
        **neighbour_values(results[chosen], queries, data.labels, data.classes, SHOWN),
        "spread": {
            name: class_spread(vectors[name], data.labels[part], data.classes)
            for name, part in (("gallery", rows), ("test", queries))
        },
    }
    galleries[chosen].save()
    write_json("metrics/retrieval.json", headline | {"recall_at_10": recalls})
    write_json("metrics/retrieval_details.json", details | {"distances": distances})
    draw_figures(data, queries, results[chosen], galleries[chosen].meta, GALLERIES[settings.gallery])
    sample = np.setdiff1d(sample_rows(rows), queries)
    mapped = np.concatenate([sample, queries])
    shown = np.concatenate([vectors["gallery"][np.isin(rows, sample)], vectors["test"]])
    draw_map(
        "plots/embeddings.png",
        EmbeddingMap(
            to_plane(shown),
            data.labels[mapped],
            queries=np.isin(mapped, queries),
            wrong=np.isin(mapped, wrong),
            classes=data.classes,
        ),
        f"t-SNE of the embeddings ({chosen}) of all test radiographs and {len(sample):,} of the gallery's "
        f"{len(rows):,}, drawn at random,\nin one map: neighbours stay neighbours, distances between groups "
        "mean nothing",
    )
    for name, section in headline.items():
        title = name.replace("_", " ")
        for embedding in get_args(Embedding):
            values = (f"{key} {section[embedding][key]:.4f}" for key in PRINTED if key in section[embedding])
            print(f"{title:15}{embedding:12}{', '.join(values)}")
        print(f"{title:15}{'at random':12}precision {section['chance']:.4f}")


def draw_figures(data: Dataset, queries: np.ndarray, result: SearchResult, meta: Meta, gallery: str) -> None:
    """plots/retrieval*.png of the nearest neighbours of the test radiographs `queries`, (Q,) rows, in the
    gallery of `meta`; `gallery` says of what it consists."""
    hits = data.labels[result.rows] == data.labels[queries][:, None]
    closeness = result.values[:, 0] if meta.metric == "cosine" else -result.values[:, 0]
    subclasses = subclass_of_each(data)
    retrieval_figures.draw_retrieval(
        Search(data.images, queries, result.rows, result.values, meta.measure, gallery),
        names=np.array(data.classes)[data.labels],
        subclasses=subclasses,
        hardest=retrieval.hardest(hits, closeness, data.labels[queries]),
        first=retrieval.first_of_each(subclasses[queries]),
    )


PRINTED = ("precision_at_1", "precision_at_5", "map_at_5", "majority_vote_at_5")


def leave_one_out(vectors: Vectors, queries: np.ndarray, embedding: Embedding, metric: Metric) -> np.ndarray:
    """(Q, k) rows of the other test radiographs nearest to each of the test radiographs `queries`, (Q,) rows,
    by an exact search. vectors: those of the queries.

    k is 10, or less if test has fewer other radiographs.
    """
    depth = min(DEPTH, len(queries) - 1)
    return Gallery.build(vectors, queries, embedding, metric, "flat").search(vectors, depth, queries).rows


def recalls_at_10(of_gallery: Vectors, of_queries: Vectors, metric: Metric) -> dict[str, float]:
    """The proportion of the ten nearest radiographs that each approximate kind of index retrieves."""
    rows = {}
    for kind in get_args(Kind):
        gallery = Gallery.build(of_gallery, np.arange(len(of_gallery.values)), "classifier", metric, kind)
        rows[kind] = gallery.search(of_queries, 10).rows
    return {kind: retrieval.recall(rows[kind], rows["flat"]) for kind in ("ivf", "hnsw")}


def overall(details: Mapping[Embedding, RetrievalReport]) -> dict[str, Any]:
    """Each metric over all queries, by embedding, for `dvc metrics diff`, and the precision of random
    retrieval (`chance`)."""
    reports = {name: report["overall"] for name, report in details.items()}
    return {
        **{
            name: {metric: entry["value"] for metric, entry in report.items()}
            for name, report in reports.items()
        },
        "chance": reports["classifier"]["precision_at_1"]["chance"],
    }


if __name__ == "__main__":
    run(main)
