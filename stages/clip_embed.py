"""Turn every film into an embedding, the space in which the stage cluster looks for sub-classes."""

from cxr.core import dataset
from cxr.core.errors import run
from cxr.core.files import write_npy
from cxr.embeddings.encoders.embed import embed
from cxr.params import load

OUTPUT = "data/embeddings.npy"


def main() -> None:
    params = load()
    data = dataset.load()
    embeddings = embed(data.images, data.rows("train"), params.clip_embed, params.compute)
    write_npy(OUTPUT, embeddings)
    print(f"{embeddings.shape[0]:,} embeddings of {embeddings.shape[1]} numbers")


if __name__ == "__main__":
    run(main)
