"""`cxr compare`: is the difference between two runs more than chance?"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxr.core.errors import UserError


def add(commands: Any) -> None:
    command = commands.add_parser(
        "compare",
        help="is a change an improvement or noise?",
        description="Compares the predictions of two Git revisions, A and B, or of one and the workspace, on "
        "the same radiographs. Prints Markdown: B is better, worse, or the comparison is inconclusive.",
    )
    command.add_argument("a", nargs="?", default="main", metavar="REV", help="A; default: main")
    command.add_argument("b", nargs="?", metavar="REV", help="B; default: the workspace")
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="write all results, with every changed decision"
    )
    command.add_argument(
        "--sheet", type=Path, metavar="FILE", help="draw the test radiographs with changed decisions (PNG)"
    )
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if a side cannot be read, if the two sides, or data/ for --sheet, do not hold
    the same radiographs, or if a file cannot be written."""
    from cxr.commands.compare import contact_sheet, runs
    from cxr.commands.compare.comparison import compare_runs
    from cxr.commands.compare.contact_sheet import draw_contact_sheet
    from cxr.commands.compare.review import Review, as_json
    from cxr.commands.compare.runs import evaluations_on_test, read_run
    from cxr.core.files import write_json

    a, b = read_run(arguments.a), read_run(arguments.b)
    runs.check_same_data(a, b)
    splits = compare_runs(a.predictions, b.predictions, (a.name, b.name))
    review = Review(a, b, splits, runs.changed_params(a, b), evaluations_on_test(a, b))
    with writing():
        if arguments.sheet:
            draw_contact_sheet(arguments.sheet, splits[0], contact_sheet.images_of(a.predictions))
        if arguments.json:
            write_json(arguments.json, as_json(review))
    print(review.markdown())


@contextmanager
def writing() -> Iterator[None]:
    """A file that cannot be written becomes a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written ({error.strerror})") from None
