"""The prompts of prompts/: plain text with named fields in braces, of which the label is none."""

from pathlib import Path
from string import Formatter

from cxr.core.errors import UserError
from cxr.reports.cases import Case, prevalence_in_words, probabilities_in_words

FOLDER = Path("prompts")
NAMES = ("zero_shot", "clinical_role", "context_aware")
# What a prompt may ask for. Whoever adds a field: the true label is never one.
FIELDS = ("classes", "size", "probabilities", "prevalence")


def load_prompts(folder: Path = FOLDER) -> dict[str, str]:
    """The text of each prompt by its name, fields not yet filled in.

    Raises `UserError` if a file is missing, empty or not UTF-8, or if it asks for anything but `FIELDS`.
    """
    return {name: _read(folder / f"{name}.txt") for name in NAMES}


def render_prompt(prompt: str, case: Case) -> str:
    """`prompt`, one of `load_prompts`, with what is known of `case` in its fields."""
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
        raise UserError(f"{path}: no such prompt; `git checkout {path}` brings it back") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save it as plain UTF-8 text") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; a brace that is no field is written twice") from None
    if not text:
        raise UserError(f"{path}: empty; write what the model is to be asked")
    for _, field, form, conversion in parts:
        if field is not None and (field not in FIELDS or form or conversion):
            asked = field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise UserError(
                f"{path}: asks for {{{asked}}}; allowed are {', '.join(f'{{{name}}}' for name in FIELDS)}, "
                "and never the true label"
            )
    return text
