"""What embedding many original files costs, and an index of their vectors: the constants of docs/scale.md.

    python -m benchmarks.embeddings_constants files     # seconds of one core for a radiograph, by format
    python -m benchmarks.embeddings_constants index [100000 1000000]

files: CPU time of `cxr embed` for a radiograph, on one core with the model in models/: reading it (decoding,
resizing) and embedding it. The radiographs are phantoms of 512 pixels, enlarged to 2,048, with noise of 8
grey levels, stored as 8-bit PNG and JPEG (quality 90) and as 12-bit DICOM, uncompressed.

index: vectors of 512 numbers around 1,000 random centres, L2-normalised. Bytes of the saved index for a
vector, CPU seconds to build it for a million vectors (on one thread), CPU milliseconds of a query and recall
of the ten nearest; queries lie around the same centres. ivfpq: product quantisation to 64 bytes
(https://doi.org/10.1109/TPAMI.2010.57), as many lists as `cxr.embeddings.index_kinds` chooses.
"""

import argparse
import io
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.embeddings_search import size
from cxr.data.phantom.cohort import make_phantoms
from cxr.data.radiograph import read_original_bytes
from cxr.embeddings.index_kinds import new_index
from cxr.model import load

FILES, SIDE = 12, 2048
DIMENSIONS, CENTRES, SPREAD, QUERIES, DEPTH = 512, 1000, 0.7, 200, 10
KINDS = ("flat", "ivf", "hnsw", "ivfpq")
HNSW_UP_TO = 100_000  # building it takes an hour for a million on one thread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["files", "index"])
    parser.add_argument("counts", type=int, nargs="*", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    if arguments.what == "files":
        measure_files()
        return
    print("| vectors | kind | bytes of a vector | CPU s to build a million | CPU ms of a query | recall@10 |")
    print("|---|---|---|---|---|---|")
    for count in arguments.counts:
        measure_indices(count)


def measure_files() -> None:
    onnx = load(threads=1).onnx
    generator = np.random.default_rng(0)
    images = [
        np.asarray(Image.fromarray(image // 2).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        + generator.integers(0, 8, (SIDE, SIDE), dtype=np.uint8)
        for image in make_phantoms((FILES // 2, FILES // 2), 512, 0, "train").images
    ]
    print(f"| format, {SIDE} x {SIDE} | bytes of a file | CPU ms to read | CPU ms to embed |")
    print("|---|---|---|---|")
    formats: dict[str, Callable[[np.ndarray], bytes]] = {
        "PNG": lambda image: saved(image, "PNG"),
        "JPEG": lambda image: saved(image, "JPEG", quality=90),
        "DICOM": dicom,
    }
    for name, write in formats.items():
        contents = [write(image) for image in images]
        read_original_bytes(contents[0], name)  # loads what reading needs
        start = time.process_time()
        stored = [
            read_original_bytes(content, name).resized(onnx.facts.size, onnx.facts.reading)
            for content in contents
        ]
        reading = 1000 * (time.process_time() - start) / FILES
        start = time.process_time()
        onnx.answer_each(np.stack(stored * 5))
        embedding = 1000 * (time.process_time() - start) / (5 * FILES)
        length = sum(map(len, contents)) / FILES
        print(f"| {name} | {length:,.0f} | {reading:.1f} | {embedding:.2f} |", flush=True)


def saved(image: np.ndarray, kind: str, **options: Any) -> bytes:
    Image.fromarray(image).save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def dicom(image: np.ndarray) -> bytes:
    dataset = Dataset()
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    dataset.Modality = "CR"
    dataset.set_pixel_data(np.ascontiguousarray(image.astype(np.uint16) * 16), "MONOCHROME2", 12)
    dataset.save_as(file := io.BytesIO(), enforce_file_format=True)
    return file.getvalue()


def measure_indices(count: int) -> None:
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((CENTRES, DIMENSIONS), np.float32)

    def around(number: int) -> np.ndarray:
        noise = generator.standard_normal((number, DIMENSIONS), np.float32)
        noise *= SPREAD
        noise += centres[generator.integers(0, CENTRES, number)]
        faiss.normalize_L2(noise)
        return noise

    vectors, queries = around(count), around(QUERIES)
    exact: np.ndarray | None = None
    for kind in KINDS:
        if kind == "hnsw" and count > HNSW_UP_TO:
            continue
        start = time.process_time()
        index = empty(kind, count)
        index.train(vectors[:: max(1, count // 100_000)] if kind == "ivfpq" else vectors)
        index.add(vectors)
        building = (time.process_time() - start) * 1e6 / count
        start = time.process_time()
        found = np.concatenate([index.search(query[None], DEPTH)[1] for query in queries])
        searching = 1000 * (time.process_time() - start) / QUERIES
        exact = found if exact is None else exact
        recall = np.mean([len(set(a) & set(b)) / DEPTH for a, b in zip(found, exact, strict=True)])
        per_vector = size(index) / count
        print(
            f"| {count:,} | {kind} | {per_vector:,.0f} | {building:,.1f} | {searching:.2f} | {recall:.3f} |",
            flush=True,
        )
        del index


def empty(kind: str, count: int) -> Any:
    if kind != "ivfpq":
        return new_index(kind, "cosine", count, DIMENSIONS)  # type: ignore[arg-type]
    lists = max(1, min(int(2 * count**0.5), count // 39))
    index: Any = faiss.index_factory(DIMENSIONS, f"IVF{lists},PQ64", faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = 64
    index.nprobe = 32
    return index


if __name__ == "__main__":
    main()
