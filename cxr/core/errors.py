"""A user's mistake ends a command with one line on stderr and exit code 1, without a stack trace."""

import os
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
    with code 130. A reader that has read enough (`| head`) ends it without a word, as other programs end."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer would be written at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + 13) from None  # as shells report SIGPIPE
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        say_stopped()
        raise SystemExit(130) from None  # as shells report it


def say_stopped() -> None:
    """The line after Ctrl-C, on stderr; in a process that DVC started with how to go on."""
    print(
        "stopped" + ("; `dvc repro` goes on from here" if "DVC_STAGE" in os.environ else ""), file=sys.stderr
    )
