"""`cxr search`: the labelled training images that are most similar to radiographs."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.commands import radiographs
from cxr.commands.radiographs import Radiographs, read_named
from cxr.core.errors import UserError
from cxr.reports.disclaimer import NOTICE

if TYPE_CHECKING:  # they take seconds to import, and `cxr --help` does not wait for them
    from cxr.core.dataset import Dataset
    from cxr.embeddings.gallery import Gallery

PICTURE = Path("build/search.png")
MOST = 100  # cases for each radiograph
VALUES = {"cosine": "cosine", "l2": "distance"}  # what the gallery's metric measures


def add(commands: Any) -> None:
    command = commands.add_parser(
        "search",
        help="the labelled training images most similar to radiographs",
        description="Prints the labelled training images (training radiographs) that are most similar to radiographs, nearest "
        "first, and draws them. A radiograph that cannot be read is a line on stderr and the others still go on, "
        "but the exit code is then 1.",
    )
    command.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="PNG, JPEG or DICOM file, or a folder of them"
    )
    command.add_argument(
        "-k",
        type=int,
        default=5,
        choices=range(1, MOST + 1),
        metavar="K",
        help="cases a radiograph; default: 5",
    )
    command.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    command.add_argument(
        "--picture", type=Path, default=PICTURE, metavar="FILE", help=f"PNG to draw; default: {PICTURE}"
    )
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there is no model, gallery or data set, or if the picture cannot be drawn,
    SystemExit with code 1 if a radiograph could not be read."""
    from cxr.commands import pictures
    from cxr.embeddings.gallery import Gallery

    radiographs.check_picture(arguments.picture, "--picture")
    gallery = Gallery.load()
    data = _data(gallery)
    images = read_named(arguments.images, data.images.shape[1])
    radiographs.check_picture(arguments.picture, "--picture", images)
    results = []
    drawn = max(1, pictures.ROWS // pictures.rows_of(arguments.k))
    if images.paths:
        results = _results(images, gallery, data, arguments.k)
        _draw(arguments.picture, images, data, gallery.meta.metric, results[:drawn])
    if arguments.json:
        print(json.dumps(_document(images, gallery, results, arguments.picture), indent=2, allow_nan=False))
    elif results:
        _print(results, gallery)
        first = f" (the first {drawn} radiographs)" if len(results) > drawn else ""
        print(f"Picture: {arguments.picture}{first}")
        print(NOTICE)
    images.end()


def _data(gallery: "Gallery") -> "Dataset":
    """Raises `UserError` if the data set is not there, or is not the one that the gallery was made of."""
    from cxr.core import dataset
    from cxr.core.dataset import load_dataset
    from cxr.embeddings.gallery import META

    for path in (dataset.IMAGES, dataset.LABELS):
        if not path.is_file():
            raise UserError(
                f"{path}: no data set here; build it with `dvc repro`, or fetch it with `dvc pull`"
            )
    data = load_dataset()
    if not set(gallery.meta.rows) <= set(data.rows("train", "val").tolist()):
        raise UserError(f"{META} does not belong to {dataset.LABELS}: other rows; run `dvc repro index`")
    return data


def _results(images: Radiographs, gallery: "Gallery", data: "Dataset", k: int) -> list[dict[str, Any]]:
    """`path` of each radiograph and `neighbours`, nearest first, each with its `row`, `class`, `source` (the
    file it came from), and `cosine` or `distance`."""
    import torch

    from cxr.core.dataset import LABELS
    from cxr.core.files import read_csv
    from cxr.embeddings.vectors import embed_new
    from cxr.params import load_params

    vectors = embed_new(gallery.meta, images.images, load_params(), torch.device("cpu"))
    found, table = gallery.search(vectors, k), read_csv(LABELS)
    value = VALUES[gallery.meta.metric]
    return [
        {
            "path": str(path),
            "neighbours": [
                {
                    "row": row,
                    "class": table[row]["class"],
                    "source": table[row]["source"],
                    value: round(measured, 6),
                }
                for row, measured in zip(rows, values, strict=True)
            ],
        }
        for path, rows, values in zip(images.paths, found.rows.tolist(), found.values.tolist(), strict=True)
    ]


def _document(
    images: Radiographs, gallery: "Gallery", results: list[dict[str, Any]], picture: Path
) -> dict[str, Any]:
    """source_sha256: of what made the gallery's vectors, for the classifier's features the model's."""
    return {
        "notice": NOTICE,
        "embedding": gallery.meta.embedding,
        "metric": gallery.meta.metric,
        "source_sha256": gallery.meta.source_sha256,
        "cases": len(gallery.meta.rows),
        "picture": str(picture) if results else None,
        "images": results,
        "errors": images.errors,
    }


def _print(results: list[dict[str, Any]], gallery: "Gallery") -> None:
    value = VALUES[gallery.meta.metric]
    every = [case for result in results for case in result["neighbours"]]
    name, row = (max(len(str(case[key])) for case in every) for key in ("class", "row"))
    for result in results:
        print(result["path"])
        for rank, case in enumerate(result["neighbours"], start=1):
            print(
                f"  {rank:>3}  {case['class']:{name}}  {value} {case[value]:.3f}  row {case['row']:>{row}}"
                f"  {case['source']}"
            )
    made = {"classifier": "the classifier's features", "encoder": "embeddings of clip_embed"}
    print(f"Searched {len(gallery.meta.rows):,} cases by {made[gallery.meta.embedding]}.")


def _draw(
    path: Path, images: Radiographs, data: "Dataset", metric: str, results: list[dict[str, Any]]
) -> None:
    from cxr.commands import pictures
    from cxr.commands.pictures import SimilarImages
    from cxr.data.radiograph import read_original

    value = VALUES[metric]
    queries = [
        SimilarImages(
            name=image.name,
            image=read_original(image).full(),
            seen=seen,
            cases=[data.images[case["row"]] for case in result["neighbours"]],
            classes=[case["class"] for case in result["neighbours"]],
            captions=[
                f"{case['class']}\n{value} {case[value]:.3f}, row {case['row']}"
                for case in result["neighbours"]
            ],
        )
        for image, seen, result in zip(images.paths, images.images, results, strict=False)
    ]
    pictures.neighbour_figure(path, queries, data.classes)
