"""`cxr validate`: does the released model hold on other radiographs, before anybody trusts it there?"""

import argparse
from pathlib import Path
from typing import Any

from cxr.commands.radiographs import add_deidentified_check, add_model
from cxr.core.errors import UserError

PAGE = "index.html"


def add(commands: Any) -> None:
    command = commands.add_parser(
        "validate",
        help="is the model as good on your labelled radiographs as on test?",
        description="Evaluates the released model on labelled radiographs and compares the result with "
        "test. A file that cannot be read is a line on stderr; the others are still evaluated, but the exit "
        "code is then 1.",
    )
    command.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="folder of class folders, or of files whose names start with their class, or a CSV with the "
        "columns path and label, and patient if known",
    )
    add_model(command)
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="write all results, with every radiograph's probabilities"
    )
    command.add_argument(
        "--page",
        type=Path,
        metavar="PATH",
        help="write a page with figures and the worst errors: an .html file, or a folder for one",
    )
    add_deidentified_check(command)
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there is no model, if labels are wrong, or if a file cannot be written,
    SystemExit with code 1 if a radiograph could not be read."""
    from cxr.commands.validate.document import validation_document
    from cxr.commands.validate.page import render_validation
    from cxr.commands.validate.summary import summary_lines
    from cxr.commands.validate.validation import validate
    from cxr.core.files import atomic, write_json, writing
    from cxr.model import load

    page = _page(arguments.page) if arguments.page else None
    _check_json(arguments.json)
    validation = validate(arguments.data, load(arguments.model), arguments.deidentified_check)
    document = validation_document(validation)
    with writing():
        if page:
            text = render_validation(validation, document)
            with atomic(page) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
        if arguments.json:
            write_json(arguments.json, document)
    print("\n".join(summary_lines(document)))
    if page:
        print(f"Page: {page}")
    if validation.errors:
        raise SystemExit(1)


def _page(path: Path) -> Path:
    """The HTML file that --page names. Raises `UserError` before anything is computed."""
    if path.suffix.lower() == ".html" and not path.is_dir():
        return path
    if path.is_file() or (path.suffix and not path.is_dir()):
        raise UserError(f"--page {path}: neither the name of an .html file nor a folder")
    return path / PAGE


def _check_json(path: Path | None) -> None:
    if path and (path.suffix.lower() != ".json" or path.is_dir()):
        raise UserError(f"--json {path}: not the name of a .json file")
