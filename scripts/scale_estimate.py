"""Bytes, hours and money of a large collection: docs/scale.md, from docs/scale.yaml.

    python -m scripts.scale_estimate

The rows say how each is computed. Run it again after a change of a constant.
"""

from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from cxr.core.errors import UserError, run
from cxr.core.files import atomic

CONSTANTS = Path("docs/scale.yaml")
PAGE = Path("docs/scale.md")
BEGIN, END = "<!-- written by `python -m scripts.scale_estimate` -->\n", "<!-- end of the estimate -->\n"
HOUR, MONTH = 3600.0, 30 * 24.0  # seconds; hours
GB, TB = 1e9, 1e12


@dataclass(frozen=True)
class Cost:
    """One step. formula: in names of docs/scale.yaml. bytes: that are kept. core_hours, gpu_hours: once."""

    step: str
    formula: str
    bytes: float = 0.0
    core_hours: float = 0.0
    gpu_hours: float = 0.0


def main() -> None:
    """Raises `UserError` if docs/scale.md lacks a mark."""
    text = PAGE.read_text(encoding="utf-8")
    changed = with_estimate(text, load_constants())
    with atomic(PAGE) as temporary:
        temporary.write_text(changed, encoding="utf-8", newline="\n")
    print(f"{PAGE}: from {CONSTANTS}")


def load_constants() -> dict[str, dict[str, str | float]]:
    """`value` and `source` of each constant, by name."""
    return YAML(typ="safe").load(CONSTANTS)


def with_estimate(text: str, constants: dict[str, dict[str, str | float]]) -> str:
    """`text` with the tables between the two marks. Raises `UserError` if it lacks a mark."""
    if BEGIN not in text or END not in text:
        raise UserError(f"{PAGE}: needs the lines {BEGIN.strip()} and {END.strip()}")
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + "\n".join(tables(constants)) + "\n" + END + rest.partition(END)[2]


def estimate(c: dict[str, float]) -> list[Cost]:
    """c: the value of each constant, by name."""
    n = c["images"]
    return [
        Cost("originals, kept as they are", "images x original_bytes", bytes=n * c["original_bytes"]),
        Cost(
            "`download`: read, crop, resize, store",
            "images x stored_side^2; images x reading_s",
            bytes=n * c["stored_side"] ** 2,
            core_hours=n * c["reading_s"] / HOUR,
        ),
        Cost(
            "`clip-embed` or `cxr embed`, small network, on CPUs",
            "images x dimensions x 4; images x embedding_s",
            bytes=n * c["dimensions"] * 4,
            core_hours=n * c["embedding_s"] / HOUR,
        ),
        Cost(
            "`clip-embed`, ViT-B/16, on GPUs",
            "images x encoder_flops / gpu_flops",
            gpu_hours=n * c["encoder_flops"] / c["gpu_flops"] / HOUR,
        ),
        Cost(
            "`train`, ViT-B/16, one epoch, on GPUs",
            "3 x images x encoder_flops / gpu_flops",
            gpu_hours=3 * n * c["encoder_flops"] / c["gpu_flops"] / HOUR,
        ),
        Cost(
            "`index`, inverted lists of whole vectors",
            "images x (dimensions x 4 + 8); images x ivf_build_s",
            bytes=n * (c["dimensions"] * 4 + 8),
            core_hours=n * c["ivf_build_s"] / HOUR,
        ),
        Cost(
            "`index`, inverted lists of codes (IVF-PQ)",
            "images x (code_bytes + 8)",
            bytes=n * (c["code_bytes"] + 8),
        ),
        Cost(
            "the service, as many answers",
            "images x answers_s",
            core_hours=n * c["answers_s"] / HOUR,
        ),
    ]


def tables(constants: dict[str, dict[str, str | float]]) -> list[str]:
    values = {name: float(each["value"]) for name, each in constants.items()}
    lines = ["| constant | value | from |", "|---|---|---|"]
    lines += [f"| `{name}` | {values[name]:g} | {each['source']} |" for name, each in constants.items()]
    lines += ["", "| step | formula | TB | core hours | GPU hours | USD once | USD a month |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for cost in estimate(values):
        once = cost.core_hours * values["core_hour"] + cost.gpu_hours * values["gpu_hour"]
        cells = [cost.bytes / TB, cost.core_hours, cost.gpu_hours, once]
        cells.append(cost.bytes / GB * values["gigabyte_month"])
        lines.append(f"| {cost.step} | {cost.formula} | {' | '.join(map(rounded, cells))} |")
    n = values["images"]
    network = n * values["original_bytes"] / values["link_bytes_s"] / HOUR
    hashed = n * values["stored_side"] ** 2 / values["md5_bytes_s"] / HOUR
    held = values["memory_bytes"] / values["stored_side"] ** 2
    flat = n * values["search_flat_s"]
    return [
        *lines,
        "",
        "- The originals pass the network link of one node (images x original_bytes / link_bytes_s) in "
        f"{rounded(network)} hours.",
        f"- DVC hashes the stored images (images x stored_side^2 / md5_bytes_s) in {rounded(hashed)} hours.",
        f"- `train` holds memory_bytes / stored_side^2 = {rounded(held / 1e6)} million images in a machine.",
        f"- An exact search (images x search_flat_s) takes {rounded(flat)} s of one core for each query.",
    ]


def rounded(value: float) -> str:
    """Two digits that count; nothing for zero."""
    return f"{float(f'{value:.2g}'):,.10g}" if value else ""


if __name__ == "__main__":
    run(main)
