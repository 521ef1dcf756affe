"""`cxr compare`: is the difference between two runs more than chance?"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.core.errors import UserError

if TYPE_CHECKING:
    from cxr.commands.compare.review import Review
    from cxr.commands.compare.runs import Run


def add(commands: Any) -> None:
    command = commands.add_parser(
        "compare",
        help="is a change an improvement or noise?",
        description="Compares the predictions of two Git revisions, A and B, or of one and the workspace, on "
        "the same radiographs. Prints Markdown: B is better, worse, or the comparison is inconclusive. With "
        "several B, each is compared with A, and p-values are adjusted for their number.",
    )
    command.add_argument("a", nargs="?", default="main", metavar="REV", help="A; default: main")
    command.add_argument("b", nargs="*", metavar="REV", help="B, or several; default: the workspace")
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="write all results, with every changed decision"
    )
    command.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="draw the differences, and the test radiographs with changed decisions (PNG)",
    )
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if a side cannot be read, if two sides have no radiographs in common, if data/ for
    --sheet does not hold them, or if a file cannot be written."""
    from cxr.commands.compare.runs import read_run

    a = read_run(arguments.a)  # outside of a repository this is the error, and not that SciPy is missing
    from cxr.commands.compare import contact_sheet
    from cxr.commands.compare.candidates import Ranking
    from cxr.commands.compare.contact_sheet import draw_contact_sheet
    from cxr.commands.compare.review_json import as_json
    from cxr.core.files import write_json, writing

    reviews = [review(a, read_run(name)) for name in arguments.b or [None]]
    if arguments.sheet and len(reviews) > 1:
        raise UserError(f"--sheet: draws one comparison, and there are {len(reviews)} candidates; name one")
    with writing():
        if arguments.sheet:
            images = contact_sheet.images_of(reviews[0].splits)
            draw_contact_sheet(arguments.sheet, reviews[0].splits[0], images)
        if arguments.json:
            found = [as_json(each) for each in reviews]
            ranking = {"adjusted_p": Ranking(reviews).adjusted, "candidates": found}
            write_json(arguments.json, found[0] if len(found) == 1 else ranking)
    print(reviews[0].markdown() if len(reviews) == 1 else Ranking(reviews).markdown())


def review(a: "Run", b: "Run") -> "Review":
    """Raises `UserError` if the two have no radiographs in common."""
    from cxr.commands.compare.comparison import compare_runs
    from cxr.commands.compare.estimate import design_of
    from cxr.commands.compare.matching import match_images
    from cxr.commands.compare.review import Review
    from cxr.commands.compare.runs import changed_params, evaluations_on_test

    matched = match_images(a, b)
    design = design_of(
        len(a.predictions.members),
        len(b.predictions.members),
        same_seeds="seed" in a.params and a.params["seed"] == b.params.get("seed"),
        same_weights=a.weights is not None and a.weights == b.weights,
    )
    splits = compare_runs(matched.a, matched.b, design, (a.threshold, b.threshold))
    return Review(a, b, splits, changed_params(a, b), evaluations_on_test(a, b), matched.notes)
