"""Compute an embedding of every radiograph; the stage cluster searches these for sub-classes."""

from cxr.core.dataset import load_dataset
from cxr.core.errors import run
from cxr.core.files import write_npy
from cxr.embeddings.encoders.embed import embed_dataset
from cxr.params import load_params

OUTPUT = "data/embeddings.npy"


def main() -> None:
    params = load_params()
    data = load_dataset()
    embeddings = embed_dataset(data.images, data.rows("train"), params.clip_embed, params.compute)
    write_npy(OUTPUT, embeddings)
    print(f"{embeddings.shape[0]:,} embeddings of {embeddings.shape[1]} numbers")


if __name__ == "__main__":
    run(main)
