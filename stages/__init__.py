"""One script for each stage of dvc.yaml: `python -m stages.train` is what the stage `train` runs."""

import os

# Set before any stage imports PyTorch. OpenMP's threads spin by default while they wait for each other;
# beside one other busy process on a two-core machine that made an epoch three to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
