"""Compute an embedding of every radiograph; the stage cluster searches these for sub-classes."""

from cxr.core.dataset import load_dataset
from cxr.core.errors import run
from cxr.core.files import write_npy_parts
from cxr.embeddings.encoders.embed import embedded_parts
from cxr.params import load_params

OUTPUT = "data/embeddings.npy"


def main() -> None:
    params = load_params()
    data = load_dataset()
    with embedded_parts(data.images, data.rows("train"), params.clip_embed, params.compute) as parts:
        write_npy_parts(OUTPUT, parts)
        print(f"{sum(map(len, parts)):,} embeddings of {parts[0].shape[1]} numbers")


if __name__ == "__main__":
    run(main)
