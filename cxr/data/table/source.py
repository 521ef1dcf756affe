"""Source `table`: images that a table names, with their classes, patients and splits."""

from collections import Counter
from pathlib import Path

import numpy as np

from cxr.core.errors import UserError
from cxr.data.conversion import convert_files
from cxr.data.manifest import IMAGES, Raw
from cxr.data.table.listing import list_images
from cxr.params import Table


def read_table(settings: Table, folder: Path, size: int) -> Raw:
    """The images below `folder` that `settings` select, (N, size, size) uint8 as a memory map of `IMAGES`,
    in the order of their paths.

    Raises what `list_images` and `convert_files` raise.
    """
    listing = list_images(settings, folder)
    broken = convert_files(folder, listing.paths, size, settings.max_broken, IMAGES)
    kept = [row for row, path in enumerate(listing.paths) if path not in broken]
    if not kept:
        raise UserError(f"{folder}: none of its images can be read")
    reasons = listing.left_out + Counter({"unreadable": len(broken)})
    return Raw(
        images=np.load(IMAGES, mmap_mode="r"),
        classes=[listing.classes[row] for row in kept],
        sources=[listing.paths[row] for row in kept],
        splits=[listing.splits[row] for row in kept],
        patients=[listing.patients[row] for row in kept],
        left_out={
            "rows": listing.rows,
            "by_reason": dict(sorted(reasons.items())),
            "broken": broken,
        },
    )
