"""One script for each stage of dvc.yaml: `python -m stages.train` is what the stage `train` runs."""

import os
import sys
from types import TracebackType

from cxr.core.errors import say_stopped

# Set before any stage imports PyTorch. OpenMP's threads spin by default while they wait for each other;
# beside one other busy process on a two-core machine that made an epoch three to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def end_with_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while a stage still imports, which takes seconds; later `cxr.core.errors.run` catches it."""
    if issubclass(kind, KeyboardInterrupt):
        say_stopped()
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = end_with_one_line
