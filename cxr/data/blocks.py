"""Large images by a few rows at a time: what is computed from them needs little memory besides its result.

A radiograph of 25 million pixels has 25 MB, but 100 in float32 and 200 in float64, for every intermediate
result of a transformation. Elementwise transformations give the same result in blocks.
"""

from collections.abc import Iterator

BLOCK = 2**20  # pixels


def row_blocks(height: int, width: int) -> Iterator[slice]:
    """Slices of an image's rows, in order, of about `BLOCK` pixels and at least one row each."""
    step = max(1, BLOCK // max(1, width))
    for start in range(0, height, step):
        yield slice(start, min(height, start + step))
