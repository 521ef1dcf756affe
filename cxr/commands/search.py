"""`cxr search`: the labelled training images most similar to radiographs."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.commands.radiographs import NamedFiles, NamedRadiograph, add_model
from cxr.core.errors import UserError
from cxr.data.radiograph import KINDS
from cxr.reports.disclaimer import NOTICE

if TYPE_CHECKING:  # `cxr --help` does not wait for ONNX Runtime and FAISS
    import numpy as np

    from cxr.core.dataset import Dataset
    from cxr.embeddings.gallery import Gallery, Vectors
    from cxr.model import ReleasedModel

PICTURE = Path("build/search.png")
MOST = 100  # neighbours of each radiograph


def add(commands: Any) -> None:
    command = commands.add_parser(
        "search",
        help="the labelled training images most similar to radiographs",
        description="Prints and draws the labelled training images most similar to each radiograph, nearest "
        "first. A file that cannot be read is a line on stderr; the others still get an answer, but the exit "
        "code is then 1.",
    )
    command.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help=f"{KINDS} file, or a folder of them"
    )
    add_model(command)
    command.add_argument(
        "-k", type=_k, default=5, metavar="K", help=f"neighbours of each radiograph, 1 to {MOST}; default: 5"
    )
    command.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    command.add_argument("--picture", type=Path, metavar="FILE", help=f"PNG to write; default: {PICTURE}")
    command.add_argument(
        "--gallery",
        type=Path,
        metavar="FOLDER",
        help="search the radiographs that `cxr embed` has embedded, instead of the training images; prints "
        "their names, draws nothing",
    )
    command.set_defaults(call=call)


def _k(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= MOST:
        return int(text)
    raise argparse.ArgumentTypeError(f"K is 1 to {MOST}")


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there is no model, gallery or data set, or if the figure cannot be drawn,
    SystemExit with code 1 if a radiograph could not be read."""
    if arguments.gallery:
        from cxr.commands.embed.nearest import search_folder

        search_folder(arguments)
        return
    from cxr.commands import figures
    from cxr.core.dataset import load_dataset
    from cxr.embeddings.gallery import Gallery
    from cxr.model import load

    picture = arguments.picture or PICTURE
    model = load(arguments.model)
    gallery = Gallery.load(model.home)
    data = load_dataset(model.home)
    gallery.check(data)
    files = NamedFiles(arguments.images)
    files.check_figure(picture, "--picture")
    drawn = max(1, figures.ROWS // figures.rows_of(arguments.k))
    radiographs = list(files.read(data.images.shape[1], data.reading, squares=drawn))
    results = []
    if radiographs:
        results = _results(radiographs, model, gallery, arguments.k)
        _draw(picture, radiographs[:drawn], results[:drawn], gallery, data)
    if arguments.json:
        print(json.dumps(_document(files, gallery, results, picture), indent=2, allow_nan=False))
    elif results:
        _print(results, gallery)
        first = f" (the first {drawn} radiographs)" if len(results) > drawn else ""
        print(f"Picture: {picture}{first}")
        print(NOTICE)
    files.end()


def _results(
    radiographs: Sequence[NamedRadiograph], model: "ReleasedModel", gallery: "Gallery", k: int
) -> list[dict[str, Any]]:
    """`path` of each radiograph and its `neighbours`, nearest first, each with `row`, `class`, `source` (the
    file it came from), and `cosine` or `distance`."""
    import numpy as np

    from cxr.core.dataset import LABELS
    from cxr.core.files import read_csv

    images = np.stack([radiograph.image for radiograph in radiographs])
    nearest = gallery.search(_vectors(images, model, gallery), k)
    table = read_csv(model.home / LABELS)
    return [
        {
            "path": str(radiograph.path),
            "neighbours": [
                {
                    "row": row,
                    "class": table[row]["class"],
                    "source": table[row]["source"],
                    gallery.meta.measure: round(value, 6),
                }
                for row, value in zip(rows, values, strict=True)
            ],
        }
        for radiograph, rows, values in zip(
            radiographs, nearest.rows.tolist(), nearest.values.tolist(), strict=True
        )
    ]


def _vectors(images: "np.ndarray", model: "ReleasedModel", gallery: "Gallery") -> "Vectors":
    """images: (N, size, size) uint8. The model's file gives the features that a gallery compares by cosine;
    other vectors PyTorch computes, in the folder of the run, whose params.yaml names the encoder.

    Raises `UserError` in another folder.
    """
    from cxr.embeddings.gallery import Vectors

    if (gallery.meta.embedding, gallery.meta.metric) == ("classifier", "cosine"):
        return Vectors(model.onnx.answer_each(images).embedding, model.onnx.facts.classifier_sha256)
    if model.home.resolve() != Path.cwd():
        raise UserError(
            f"{model.home}: its gallery compares {gallery.meta.embedding} vectors by {gallery.meta.metric}, "
            "which its ONNX file does not give; run `cxr search` in that folder"
        )
    import torch

    from cxr.embeddings.vectors import embed_new
    from cxr.params import load_params

    return embed_new(gallery.meta, images, load_params(), torch.device("cpu"))


def _document(
    files: NamedFiles, gallery: "Gallery", results: list[dict[str, Any]], picture: Path
) -> dict[str, Any]:
    """source_sha256: of what made the gallery's vectors (the model, for the classifier's features)."""
    return {
        "notice": NOTICE,
        "embedding": gallery.meta.embedding,
        "metric": gallery.meta.metric,
        "source_sha256": gallery.meta.source_sha256,
        "cases": len(gallery.meta.rows),
        "picture": str(picture) if results else None,
        "images": results,
        "errors": files.errors,
    }


def _print(results: list[dict[str, Any]], gallery: "Gallery") -> None:
    measure = gallery.meta.measure
    neighbours = [neighbour for result in results for neighbour in result["neighbours"]]
    name, row = (max(len(str(neighbour[key])) for neighbour in neighbours) for key in ("class", "row"))
    for result in results:
        print(result["path"])
        for rank, neighbour in enumerate(result["neighbours"], start=1):
            print(
                f"  {rank:>3}  {neighbour['class']:{name}}  {measure} {neighbour[measure]:.3f}"
                f"  row {neighbour['row']:>{row}}  {neighbour['source']}"
            )
    vectors = {"classifier": "the classifier's features", "encoder": "embeddings of clip_embed"}
    print(f"Searched {len(gallery.meta.rows):,} images by {vectors[gallery.meta.embedding]}.")


def _draw(
    path: Path,
    radiographs: Sequence[NamedRadiograph],
    results: Sequence[dict[str, Any]],
    gallery: "Gallery",
    data: "Dataset",
) -> None:
    from cxr.commands import figures

    measure = gallery.meta.measure
    queries = []
    for radiograph, result in zip(radiographs, results, strict=True):
        assert radiograph.square is not None  # `call` asks for it
        neighbours = result["neighbours"]
        queries.append(
            figures.SimilarImages(
                name=radiograph.path.name,
                image=radiograph.square,
                seen=radiograph.image,
                neighbours=[data.images[neighbour["row"]] for neighbour in neighbours],
                classes=[neighbour["class"] for neighbour in neighbours],
                captions=[
                    f"{neighbour['class']}\n{measure} {neighbour[measure]:.3f}, row {neighbour['row']}"
                    for neighbour in neighbours
                ],
            )
        )
    figures.neighbour_figure(path, queries, data.classes)
