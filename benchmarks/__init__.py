"""Speed and quality measured by hand: `python -m benchmarks.training`. Never part of `dvc repro`."""
