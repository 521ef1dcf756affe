"""A user's mistake becomes one line on stderr and exit code 1, never a stack trace."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend. The message says what is wrong, where, and what to do."""


class FormatError(UserError):
    """Neither a PNG nor a JPEG nor a DICOM file."""


class PixelCountError(UserError):
    """More pixels than allowed, found before they are decoded."""


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; a `UserError` is printed as one line and ends the process with code 1."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
