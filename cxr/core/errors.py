"""A user's mistake ends a command with one line on stderr and exit code 1, without a stack trace."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake that the user can correct. The message is one line: what is wrong, where, and what to do."""


class FormatError(UserError):
    """The file is neither a PNG nor a JPEG nor a DICOM file."""


class PixelCountError(UserError):
    """The image has more pixels than allowed; raised before they are decoded."""


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`. A `UserError` is printed as one line and ends the process with code 1, Ctrl-C
    with code 130."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None  # as shells report it
