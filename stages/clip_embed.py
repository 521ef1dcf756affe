"""Turn every film into an embedding, the space in which the stage cluster looks for sub-classes."""

from threadpoolctl import threadpool_limits

from cxr.data import packed
from cxr.encoders import embed_pixels
from cxr.errors import run
from cxr.files import write_npy
from cxr.params import load

OUTPUT = "data/embeddings.npy"


def main() -> None:
    params = load()
    data = packed.load()
    with threadpool_limits(1):  # more threads add up in another order, and the bytes would follow the machine
        embeddings = embed_pixels(data.images, data.rows("train"), params.clip_embed.dimensions)
    write_npy(OUTPUT, embeddings)
    print(f"{embeddings.shape[0]:,} embeddings of {embeddings.shape[1]} numbers")


if __name__ == "__main__":
    run(main)
