"""The shards of `cxr embed`: which files belong to each, and the work on one."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cxr.core.errors import UserError
from cxr.core.files import read_csv, write_csv
from cxr.core.processes import Tick, Work
from cxr.data.object_store import Store, StoredFile
from cxr.embeddings.vector_shards import ShardEntry, VectorShards


@dataclass(frozen=True)
class ShardPlan:
    """shards, files: in all. missing: the shards without vectors of their files as they are now, and how many
    files these have."""

    shards: int
    files: int
    missing: list[int]
    missing_files: int


def planned(folder: Path, shard: int) -> Path:
    """Of a shard that is missing: the table of its files."""
    return folder / f"planned_{shard:06}.csv"


def plan_shards(store: Store, shards: VectorShards) -> ShardPlan:
    """Lists the files of `store`, and writes the table `planned` of each missing shard. The list is never in
    memory as a whole."""
    for path in shards.folder.glob(planned(Path(), 0).name.replace("000000", "*")):
        path.unlink()  # of a run that was killed
    number, files, missing, missing_files = 0, 0, list[int](), 0
    for number, part in enumerate(_parts(store, shards.meta.files_per_shard), start=1):
        files += len(part)
        done = [StoredFile(entry.name, entry.stamp) for entry in shards.entries(number - 1)]
        if done != part:
            shards.table(number - 1).unlink(missing_ok=True)
            write_csv(planned(shards.folder, number - 1), StoredFile._fields, part)
            missing.append(number - 1)
            missing_files += len(part)
    return ShardPlan(number, files, missing, missing_files)


def _parts(store: Store, size: int) -> Iterator[list[StoredFile]]:
    files = store.radiographs()
    while part := list(islice(files, size)):
        yield part


@dataclass(frozen=True)
class ShardEmbedder:
    """Called in each process: loads the model, and returns what embeds the shard of a number.

    source, model: what `Store` and `cxr.load` take. folder: of the shards. Raises `UserError` if the model is
    another than that of the shards, or the store does not answer.
    """

    source: str
    model: str
    folder: Path

    def __call__(self) -> Work:
        from cxr.model import load

        shards, store = VectorShards.load(self.folder), Store(self.source)
        meta, onnx = shards.meta, load(self.model, threads=1).onnx
        if onnx.facts.classifier_sha256 != meta.classifier_sha256:
            raise UserError(f"{self.model}: another model than where the command runs")

        def embed(number: int, tick: Tick) -> None:
            files = [StoredFile(**row) for row in read_csv(planned(self.folder, number))]
            entries, vectors = [], []
            images = store.read([file.name for file in files], meta.size, meta.reading)
            for file, image in zip(files, images, strict=True):
                if isinstance(image, UserError):
                    entries.append(ShardEntry(*file, str(image)))
                else:
                    entries.append(ShardEntry(*file))
                    vectors.append(onnx.answer_each(image[None]).embedding[0])
                tick()
            shards.write(number, vectors, entries)
            planned(self.folder, number).unlink()

        return embed
