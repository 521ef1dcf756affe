"""`cxr embed`: the model's embeddings of all radiographs of a folder or an object store, in shards."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cxr.commands.radiographs import add_model
from cxr.core.errors import UserError
from cxr.data.radiograph import KINDS

if TYPE_CHECKING:  # `cxr --help` does not wait for FAISS
    from cxr.embeddings.vector_shards import VectorShards


def add(commands: Any) -> None:
    command = commands.add_parser(
        "embed",
        help="embeddings of any number of radiographs, for `cxr search --gallery`",
        description=f"Writes the model's features of every {KINDS} file of a folder or object store, in "
        "shards with a table of their files: on the cores of this machine (PYTHON_CPU_COUNT: how many), "
        "or on the Ray cluster that RAY_ADDRESS names. Called again, it goes on with what is missing, and "
        "computes shards again whose files have changed. Files that cannot be read are listed in "
        "embeddings.json, and their number is printed; the exit code is then 0.",
    )
    command.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder, or a URL such as s3://bucket/folder, with the credentials that fsspec finds in the "
        "environment",
    )
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the shards")
    command.add_argument("--half", action="store_true", help="float16 instead of float32: half the size")
    add_model(command)
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there is no model, source or radiograph, or if the folder is of others."""
    from cxr.commands.embed.shards import ShardEmbedder, plan_shards
    from cxr.core.engine import by_loaded
    from cxr.data.object_store import Store
    from cxr.params import Compute

    local = Path(arguments.source).exists() or "://" not in arguments.source
    source = str(Path(arguments.source).resolve()) if local else arguments.source
    # Relative paths would mean something else on another node.
    model = str(Path(arguments.model).resolve()) if Path(arguments.model).exists() else arguments.model
    store = Store(source)
    shards = _started(arguments, store.url, model)
    todo = plan_shards(store, shards)
    if not todo.files:
        raise UserError(f"{arguments.source}: no {KINDS} radiograph below it")
    if len(todo.missing) < todo.shards:
        print(f"going on with {len(todo.missing)} of {todo.shards} shards")
    make = ShardEmbedder(source, model, shards.folder.resolve())
    with tqdm(total=todo.missing_files, unit=" radiographs", disable=None) as bar:
        by_loaded(make, todo.missing, Compute(device="cpu", threads=1, workers="auto"), bar)
    for path in sorted(shards.folder.glob("shard_*.*")):
        if int(path.stem.removeprefix("shard_")) >= todo.shards:  # of files that are gone
            path.unlink()
    unreadable = {
        entry.name: entry.reason
        for shard in range(todo.shards)
        for entry in shards.entries(shard)
        if entry.reason
    }
    count = todo.files - len(unreadable)
    shards.meta = replace(shards.meta, shards=todo.shards, files=todo.files, count=count)
    shards.save(unreadable)
    print(
        f"{count:,} embeddings of {shards.meta.dimensions} numbers in {todo.shards} shards: {shards.folder}"
    )
    if unreadable:
        name, reason = next(iter(unreadable.items()))
        print(f"{len(unreadable):,} files cannot be read, the first: {name}: {reason}", file=sys.stderr)


def _started(arguments: argparse.Namespace, url: str, model: str) -> "VectorShards":
    """The shards of the folder, or new ones. Raises `UserError` for those of another model or source."""
    import numpy as np

    from cxr.embeddings import vector_shards
    from cxr.embeddings.vector_shards import META, ShardsMeta, VectorShards
    from cxr.model import load

    onnx = load(model, threads=1).onnx
    facts = onnx.facts
    dimensions = onnx.answer_each(np.zeros((1, facts.size, facts.size), np.uint8)).embedding.shape[1]
    dtype: Any = "float16" if arguments.half else "float32"
    identity = url, facts.classifier_sha256, facts.size, facts.reading, dimensions, dtype
    meta = ShardsMeta(*identity, files_per_shard=vector_shards.FILES)
    path = arguments.out / META
    if path.is_file():
        there = VectorShards.load(arguments.out).meta
        for name in ("source", "classifier_sha256", "dtype"):
            if getattr(there, name) != getattr(meta, name):
                raise UserError(
                    f"{path}: {name} is {getattr(there, name)}, not {getattr(meta, name)}; name another --out"
                )
    elif arguments.out.exists() and any(arguments.out.iterdir()):
        raise UserError(f"--out {arguments.out}: holds other files; name a new folder")
    shards = VectorShards(arguments.out, meta)
    shards.save({})
    return shards
