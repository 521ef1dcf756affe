"""The prompts in prompts/: plain text with named fields in braces; the label is not one of them."""

from pathlib import Path
from string import Formatter

from cxr.core.errors import UserError
from cxr.reports.cases import Case, prevalence_in_words, probabilities_in_words

FOLDER = Path("prompts")
NAMES = ("zero_shot", "clinical_role", "context_aware")
# What a prompt may contain. The label must never be added: it would leak into the reports.
FIELDS = ("classes", "size", "probabilities", "prevalence")


def load_prompts(folder: Path = FOLDER) -> dict[str, str]:
    """The text of each prompt by its name, fields not yet filled in.

    Raises `UserError` if a file is missing, empty or not UTF-8, or if it has another field than `FIELDS`.
    """
    return {name: _read(folder / f"{name}.txt") for name in NAMES}


def render_prompt(prompt: str, case: Case) -> str:
    """`prompt`, one of `load_prompts`, with the values of `case` in its fields."""
    return prompt.format(
        classes=", ".join(case.probabilities),
        size=case.size,
        probabilities=probabilities_in_words(case.probabilities),
        prevalence=prevalence_in_words(case.prevalence),
    )


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
        parts = list(Formatter().parse(text))
    except FileNotFoundError:
        raise UserError(f"{path}: no such prompt; restore it with `git checkout {path}`") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save it as plain UTF-8 text") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; write a brace that is not part of a field twice") from None
    if not text:
        raise UserError(f"{path}: empty; write a prompt into it")
    for _, field, form, conversion in parts:
        if field is not None and (field not in FIELDS or form or conversion):
            unknown = field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise UserError(
                f"{path}: unknown field {{{unknown}}}; allowed are "
                f"{', '.join(f'{{{name}}}' for name in FIELDS)}, never the label"
            )
    return text
