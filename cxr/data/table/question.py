"""The class of an image by the labels that a table gives it: each label is a class, or a finding is asked
for."""

from collections.abc import Sequence

from cxr.core.errors import UserError
from cxr.data.table.layouts import NONE, ImageRow
from cxr.params import Table

# Why an image is left out, as metrics/data.json counts it.
VIEW, UNLABELLED, UNCERTAIN, CONTRADICTORY, OTHER = (
    "other_view",
    "unlabelled",
    "uncertain",
    "contradictory",
    "other_labels",
)


def class_names(settings: Table) -> tuple[str, str]:
    """Of images without and with the finding that is asked for."""
    finding = settings.positive.lower()
    return ("normal" if settings.others == "leave_out" else f"no {finding}"), finding


def class_of(row: ImageRow, settings: Table) -> tuple[str, str]:
    """The class of an image and "", or "" and why it is left out. Labels are compared in any case.

    Raises `UserError` if every label is a class and the image has several.
    """
    if settings.views != "all" and not _matches(row.view, settings.views):
        return "", VIEW
    if row.labels is None:
        return "", UNLABELLED
    if settings.positive == NONE:
        if len(row.labels) > 1:
            raise UserError(
                f"{row.where}: has the labels {', '.join(row.labels)}; an image has one class, so name the "
                "finding that is asked for in params.yaml: table.positive"
            )
        return row.labels[0], ""
    without, finding = class_names(settings)
    labels, uncertain = ([name.casefold() for name in names] for names in (row.labels, row.uncertain))
    present, normal = settings.positive.casefold() in labels, settings.negative.casefold() in labels
    if settings.positive.casefold() in uncertain:
        if settings.uncertain == "ignore":
            return "", UNCERTAIN
        present = settings.uncertain == "ones"
    if present and normal:
        return "", CONTRADICTORY
    if present:
        return finding, ""
    return (without, "") if normal or settings.others == "negative" else ("", OTHER)


def _matches(view: str | None, wanted: Sequence[str]) -> bool:
    """Whether a view is wanted; without a column of views all are."""
    return view is None or view.casefold() in [name.casefold() for name in wanted]
