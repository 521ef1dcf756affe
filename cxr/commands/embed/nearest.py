"""`cxr search --gallery FOLDER`: the nearest of the radiographs that `cxr embed` has embedded."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr.commands.radiographs import NamedFiles
from cxr.core.errors import UserError
from cxr.embeddings.vector_shards import VectorShards
from cxr.model import load
from cxr.reports.disclaimer import NOTICE


def search_folder(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there is no model, the folder holds no vectors of it, or a figure was asked for;
    SystemExit with code 1 if a radiograph could not be read."""
    if arguments.picture:
        raise UserError("--picture: the radiographs of a --gallery are not drawn; leave it out")
    model, shards = load(arguments.model), VectorShards.load(arguments.gallery)
    files = NamedFiles(arguments.images)
    radiographs = list(files.read(model.onnx.facts.size, model.onnx.facts.reading))
    results: list[dict[str, Any]] = []
    if radiographs:
        embedding = model.onnx.answer_each(np.stack([each.image for each in radiographs])).embedding
        nearest = shards.search(embedding, model.onnx.facts.classifier_sha256, arguments.k)
        results = [
            {"path": str(each.path), "neighbours": _neighbours(names, cosines)}
            for each, names, cosines in zip(radiographs, nearest.names, nearest.cosines.tolist(), strict=True)
        ]
    if arguments.json:
        document = {
            "notice": NOTICE,
            "metric": "cosine",
            "source": shards.meta.source,
            "source_sha256": shards.meta.classifier_sha256,
            "cases": shards.meta.count,
            "images": results,
            "errors": files.errors,
        }
        print(json.dumps(document, indent=2, allow_nan=False))
    elif results:
        for result in results:
            print(result["path"])
            for rank, neighbour in enumerate(result["neighbours"], start=1):
                print(f"  {rank:>3}  cosine {neighbour['cosine']:.3f}  {neighbour['source']}")
        print(f"Searched {shards.meta.count:,} radiographs of {shards.meta.source}.")
        print(NOTICE)
    files.end()


def _neighbours(names: Sequence[str], cosines: Sequence[float]) -> list[dict[str, Any]]:
    return [{"source": name, "cosine": round(cosine, 6)} for name, cosine in zip(names, cosines, strict=True)]
