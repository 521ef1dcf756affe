"""Turn every film into an embedding, the space in which the stage cluster looks for sub-classes."""

from cxr.data import packed
from cxr.encoders.embed import embed
from cxr.errors import run
from cxr.files import write_npy
from cxr.params import load

OUTPUT = "data/embeddings.npy"


def main() -> None:
    params = load()
    data = packed.load()
    embeddings = embed(data.images, data.rows("train"), params.clip_embed, params.compute)
    write_npy(OUTPUT, embeddings)
    print(f"{embeddings.shape[0]:,} embeddings of {embeddings.shape[1]} numbers")


if __name__ == "__main__":
    run(main)
