"""Measurements of speed and quality, run by hand: `python -m benchmarks.training_speed`. No stage of DVC runs
them."""
