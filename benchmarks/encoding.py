"""How much faster clip-embed is than the published way to embed films with CLIP.

PLACEHOLDER
"""

import platform
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from cxr.encoders import huggingface
from cxr.encoders.network import Network, encode

FILMS, SIZE, ROUNDS, THREADS = 128, 28, 3, 2
CPU = torch.device("cpu")


def published_loop(films: np.ndarray, processor: CLIPImageProcessor, model: CLIPVisionModel) -> np.ndarray:
    """One picture at a time, as published notebooks do; they call it CLIPProcessor, whose image half this is."""
    rows = []
    for film in films:
        inputs = processor(images=Image.fromarray(film).convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            rows.append(model(**inputs).pooler_output.squeeze().numpy())
    return np.array(rows)


def main() -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    films = np.random.default_rng(0).integers(0, 256, (FILMS, SIZE, SIZE), dtype=np.uint8)
    model, processor = CLIPVisionModel(CLIPVisionConfig()).eval(), CLIPImageProcessor()
    network = Network(
        huggingface._preparation(processor),
        model,
        lambda x: model(x).pooler_output,
        model.config.hidden_size,
    )
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "published loop, float32": lambda x: published_loop(x, processor, model),
        "clip-embed, float32": lambda x: encode(network, x, CPU, "float32"),
        "clip-embed, bf16": lambda x: encode(network, x, CPU, "bf16"),
    }
    embeddings = {name: way(films[:2]) for name, way in ways.items()}  # warm-up
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):  # in turn, so that a busy minute hits all of them
        for name, way in ways.items():
            start = time.perf_counter()
            embeddings[name] = way(films)
            speeds[name].append(FILMS / (time.perf_counter() - start))

    print(f"{FILMS} films of {SIZE} pixels, ViT-B/32, {THREADS} threads, {platform.processor() or platform.machine()}")
    reference = embeddings["published loop, float32"]
    baseline = speeds["published loop, float32"]
    for name, runs in speeds.items():
        ratios = [ours / theirs for ours, theirs in zip(runs, baseline, strict=True)]
        cosine = (embeddings[name] * reference).sum(axis=1)
        cosine /= np.linalg.norm(embeddings[name], axis=1) * np.linalg.norm(reference, axis=1)
        print(
            f"{name:24} best {max(runs):6.1f} median {np.median(runs):6.1f} films/s, ratio of the bests "
            f"{max(runs) / max(baseline):.2f}, round by round {', '.join(f'{r:.2f}' for r in ratios)}; "
            f"lowest cosine with the loop {cosine.min():.6f}"
        )


if __name__ == "__main__":
    main()
