"""data/images.npy, read image by image: were it mapped, truncating it would end the process (SIGBUS)."""

import os
from pathlib import Path

import numpy as np

from service.errors import Problem


class StoredImages:
    """shape: (N, S, S). Only the header is read before an image is asked for."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` or `ValueError` if the file is missing, damaged, or holds anything else."""
        if not path.is_file():  # a FIFO would be waited for
            raise FileNotFoundError(path)
        self._file = path.open("rb")
        version = np.lib.format.read_magic(self._file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise ValueError("version")
        self.shape, fortran, dtype = read[version](self._file)
        self._start = self._file.tell()
        if fortran or dtype != np.uint8 or len(self.shape) != 3:
            raise ValueError("images")
        if os.fstat(self._file.fileno()).st_size < self._start + int(np.prod(self.shape)):
            raise ValueError("truncated")

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, row: int) -> np.ndarray:
        """(S, S) uint8. Raises `Problem` 503 if the file has been truncated."""
        height, width = self.shape[1:]
        size = height * width
        data = os.pread(self._file.fileno(), size, self._start + row * size)
        if len(data) != size:
            raise Problem(503, "no-cases", "data/images.npy has changed; send SIGHUP to load it again.")
        return np.frombuffer(data, np.uint8).reshape(height, width)
